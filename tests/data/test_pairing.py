"""Which file belongs to which, and what a data set lacks."""

from pathlib import Path

import pytest

from ccsr.data.layouts import check, find_test_set
from ccsr.data.pairing import list_pictures, pair, run_folders, stem_key
from ccsr.errors import OptionError
from helpers import write_picture


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Canon_001_HR4", "Canon_001"), ("Canon_001_LR4", "Canon_001"), ("0001_x1", "0001"), ("0001_x2.5", "0001"),
        ("a_x4_s03", "a"), ("b_SR", "b"), ("deep/c_hr", "deep/c"), ("_x4", "_x4"), ("plain", "plain"),
    ],
)  # fmt: skip
def test_suffixes_of_known_sets(name: str, key: str) -> None:
    assert stem_key(name) == key


def test_pairs_by_name_then_by_rule(tmp_path: Path) -> None:
    for name in ("a.png", "b_x4.png", "deep/c.webp"):
        write_picture(tmp_path / "sr" / name)
    for name in ("a.png", "b.png", "deep/c.png"):
        write_picture(tmp_path / "gt" / name)
    found = pair(tmp_path / "sr", tmp_path / "gt")
    assert {k: (s.name, g.name) for k, (s, g) in found.files.items()} == {
        "a": ("a.png", "a.png"), "b": ("b_x4.png", "b.png"), "deep/c": ("c.webp", "c.png"),
    }  # fmt: skip
    assert found.without_partner == []


def test_equal_names_win_over_the_rule(tmp_path: Path) -> None:
    for name in ("a.png", "a_x4.png"):
        write_picture(tmp_path / "sr" / name)
        write_picture(tmp_path / "gt" / name)
    assert list(pair(tmp_path / "sr", tmp_path / "gt").files) == ["a", "a_x4"]


def test_missing_partners_are_named_or_counted(tmp_path: Path) -> None:
    write_picture(tmp_path / "sr" / "a.png")
    write_picture(tmp_path / "sr" / "extra.png")
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / "gt" / name)
    with pytest.raises(OptionError, match=r"extra\.png: has no partner in .*gt, nor have 2 others"):
        pair(tmp_path / "sr", tmp_path / "gt")
    assert len(pair(tmp_path / "sr", tmp_path / "gt", skip_missing=True).without_partner) == 3


def test_ambiguous_and_double_partners(tmp_path: Path) -> None:
    write_picture(tmp_path / "sr" / "a.png")
    for name in ("a_x1.png", "a_x4.png"):
        write_picture(tmp_path / "gt" / name)
    with pytest.raises(OptionError, match=r"could belong to a_x1, a_x4"):
        pair(tmp_path / "sr", tmp_path / "gt", skip_missing=True)
    for name in ("b_SR.png", "b_x4.png"):
        write_picture(tmp_path / "two" / name)
    write_picture(tmp_path / "one" / "b.png")
    with pytest.raises(OptionError, match=r"b_x4\.png: belongs to b as b_SR\.png does"):
        pair(tmp_path / "two", tmp_path / "one")


def test_same_stem_twice(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "a.jpg")
    with pytest.raises(OptionError, match="has the same name as"):
        list_pictures(tmp_path)


def test_runs_of_a_folder(tmp_path: Path) -> None:
    assert run_folders(tmp_path) == [tmp_path]
    for name in ("sample01", "sample00", "stability", "samples"):
        (tmp_path / name).mkdir()
    assert [p.name for p in run_folders(tmp_path)] == ["sample00", "sample01"]


@pytest.mark.parametrize(("low", "good"), [("test_LR", "test_HR"), ("LR", "HR"), ("lq", "gt")])
def test_a_complete_set(tmp_path: Path, low: str, good: str) -> None:
    write_picture(tmp_path / low / "a_LR4.png", 12, 8)
    write_picture(tmp_path / good / "a_HR4.png", 48, 32)
    assert find_test_set(tmp_path).lq == tmp_path / low
    assert check("pairs", tmp_path) == (1, [])
    good_pairs, faults = check("realsr", tmp_path)
    assert good_pairs == 1
    assert faults == [f"{tmp_path}: 1 pairs, realsr has 100"]


def test_an_incomplete_set_names_what_is_missing(tmp_path: Path) -> None:
    write_picture(tmp_path / "lq" / "a.png", 12, 8)
    write_picture(tmp_path / "lq" / "b.png", 12, 8)
    write_picture(tmp_path / "lq" / "c.png", 12, 8)
    write_picture(tmp_path / "gt" / "a.png", 48, 32)
    write_picture(tmp_path / "gt" / "b.png", 50, 32)
    good, faults = check("pairs", tmp_path)
    assert good == 1
    assert len(faults) == 2
    assert faults[0].endswith("c.png: has no partner")
    assert faults[1].endswith("b.png: 12x8 does not fit 50x32 of b.png")


def test_training_pictures_and_lists(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    assert check("pictures", tmp_path)[0] == 1
    (tmp_path / "list.txt").write_text("# a comment\na.png\nmissing.png\n")
    good, faults = check("list", tmp_path / "list.txt")
    assert good == 1
    assert "missing.png" in faults[0]
    (tmp_path / "list.csv").write_text("file,licence\na.png,CC0\n")
    assert check("list", tmp_path / "list.csv") == (1, [])


@pytest.mark.parametrize(
    ("layout", "message"),
    [("div3k", "no layout is called div3k"), ("pairs", "is no test set"), ("pictures", "no picture in this folder")],
)
def test_what_cannot_be_checked(tmp_path: Path, layout: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check(layout, tmp_path)

"""Layouts that programs leave behind."""

from pathlib import Path

import pytest

from ccsr.compare.find_results import find_results, place
from ccsr.errors import CCSRError, OptionError
from helpers import write_picture

NAMES = ("Canon_003", "Nikon_010")


def test_flat_with_what_sets_add(tmp_path: Path) -> None:
    write_picture(tmp_path / "Canon_003_x4.png")
    write_picture(tmp_path / "Nikon_010_SR.jpg")
    (run,) = find_results(tmp_path, NAMES)
    assert {name: path.name for name, path in run.items()} == {
        "Canon_003": "Canon_003_x4.png",
        "Nikon_010": "Nikon_010_SR.jpg",
    }


@pytest.mark.parametrize("folder", ["sample{:02d}", "sample{}", "sr_v2_006steps/sample{:02d}"])
def test_run_folders_at_any_depth(tmp_path: Path, folder: str) -> None:
    for run in range(3):
        for name in NAMES:
            write_picture(tmp_path / folder.format(run) / f"{name}.png", seed=run)
    runs = find_results(tmp_path, NAMES)
    assert [run["Canon_003"] for run in runs] == [tmp_path / folder.format(i) / "Canon_003.png" for i in range(3)]


def test_numbers_at_the_end_are_runs(tmp_path: Path) -> None:
    for run in range(12):
        write_picture(tmp_path / f"Canon_003_{run}.png")
    runs = find_results(tmp_path, NAMES)
    assert [run["Canon_003"].name for run in runs] == [f"Canon_003_{i}.png" for i in range(12)]


def test_nested_folders_and_foreign_files(tmp_path: Path) -> None:
    write_picture(tmp_path / "restored" / "deep" / "Canon_003.png")
    write_picture(tmp_path / "something_else.png")
    (tmp_path / "txt").mkdir()
    (tmp_path / "txt" / "Canon_003.txt").write_text("a canon")
    (run,) = find_results(tmp_path, NAMES)
    assert run == {"Canon_003": tmp_path / "restored" / "deep" / "Canon_003.png"}


def test_inputs_in_folders(tmp_path: Path) -> None:
    write_picture(tmp_path / "day" / "a.png")
    write_picture(tmp_path / "night" / "a.png")
    (run,) = find_results(tmp_path, ["day__a", "night__a"])
    assert run == {"day__a": tmp_path / "day" / "a.png", "night__a": tmp_path / "night" / "a.png"}


def test_two_candidates_need_a_pattern(tmp_path: Path) -> None:
    write_picture(tmp_path / "low" / "Canon_003.png")
    write_picture(tmp_path / "out" / "Canon_003.png")
    with pytest.raises(OptionError, match=r"out/Canon_003.png: could be the result of Canon_003, as .*low"):
        find_results(tmp_path, NAMES)
    (run,) = find_results(tmp_path, NAMES, "out/{name}.png")
    assert run == {"Canon_003": tmp_path / "out" / "Canon_003.png"}


def test_nothing_found(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png")
    with pytest.raises(CCSRError, match="holds no result of any picture"):
        find_results(tmp_path, NAMES)
    with pytest.raises(CCSRError, match="is not a folder"):
        find_results(tmp_path / "absent", NAMES)


def test_placed_under_their_names(tmp_path: Path) -> None:
    paths = [write_picture(tmp_path / "in" / f"Canon_003_{run}.PNG", seed=run) for run in range(2)]
    place([{"Canon_003": path} for path in paths], tmp_path / "results")
    placed = [tmp_path / "results" / f"sample0{run}" / "Canon_003.png" for run in range(2)]
    assert [path.read_bytes() for path in placed] == [path.read_bytes() for path in paths]
    place([{"Canon_003": paths[0]}], tmp_path / "single")
    assert (tmp_path / "single" / "Canon_003.png").exists()

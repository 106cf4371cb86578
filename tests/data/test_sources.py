"""Where pictures come from, and what is said about those that cannot be used."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccsr.data.sources import Pictures, SourceConfig
from ccsr.errors import ImageError, OptionError
from ccsr.images import SUFFIXES
from helpers import write_picture


def _names(config: SourceConfig) -> list[str]:
    return [Path(entry.name or entry.path).name for entry in Pictures.open([config])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.png, sub/a.jpg, and a text."""
    write_picture(tmp_path / "in" / "b.png")
    write_picture(tmp_path / "in" / "sub" / "a.jpg", quality=90)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


def test_a_folder_with_all_below_it(folder: Path) -> None:
    assert _names(SourceConfig(folder=str(folder))) == ["b.png", "a.jpg"]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_kind_that_a_job_reads_can_be_trained_on(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((8, 10, 3), (200, 200, 200), np.uint8)
    mode = {".pbm": "1", ".pgm": "L"}.get(suffix, "RGB")
    image, path = Image.fromarray(pixels).convert(mode), tmp_path / f"a{suffix.upper()}"
    if suffix in (".heic", ".heif", ".hif"):
        pytest.importorskip("pi_heif")
        with path.open("wb") as file:
            pytest.importorskip("pillow_heif").from_pillow(image).save(file)
    else:
        image.save(path, Image.registered_extensions()[suffix])
    pictures = Pictures.open([SourceConfig(folder=str(tmp_path))])
    read = pictures.read(0)[0]
    assert read.shape == (8, 10, 3)
    if mode != "1":
        assert np.abs(read.astype(int) - 200).max() <= 3


def test_a_list_and_its_first_entries(folder: Path) -> None:
    (folder / "list.txt").write_text("# two\nsub/a.jpg\n\nb.png\n")
    assert _names(SourceConfig(list=str(folder / "list.txt"))) == ["a.jpg", "b.png"]
    assert _names(SourceConfig(list=str(folder / "list.txt"), first=1)) == ["a.jpg"]


def test_a_manifest_names_licences(folder: Path) -> None:
    manifest = folder / "m.csv"
    manifest.write_text("file,licence\nb.png,CC BY-SA 4.0\nsub/a.jpg,CC0\n")
    assert _names(SourceConfig(folder=str(folder), manifest=str(manifest))) == ["b.png", "a.jpg"]
    assert _names(SourceConfig(folder=str(folder), manifest=str(manifest), without_licence="BY-SA")) == ["a.jpg"]


def test_shards_give_the_bytes_of_their_members(folder: Path, tmp_path: Path) -> None:
    for number in range(2):
        with tarfile.open(tmp_path / f"s-{number}.tar", "w") as tar:
            for i in range(3):
                data = io.BytesIO()
                Image.fromarray(np.full((4, 5, 3), 10 * number + i, np.uint8)).save(data, "PNG")
                info = tarfile.TarInfo(f"{i}.png")
                info.size = len(data.getvalue())
                tar.addfile(info, io.BytesIO(data.getvalue()))
                tar.addfile(tarfile.TarInfo(f"{i}.json"))
    pictures = Pictures.open([SourceConfig(shards=str(tmp_path / "s-*.tar"))])
    assert [int(pictures.read(i)[0][0, 0, 0]) for i in range(len(pictures))] == [0, 1, 2, 10, 11, 12]
    assert pictures[4].label.endswith("s-1.tar:1.png")


def test_pairs_are_found_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "gt" / "a.png", 16, 8)
    write_picture(tmp_path / "lq" / "a.jpg", 4, 2)
    pictures = Pictures.open([SourceConfig(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))])
    gt, lq = pictures.read(0)
    assert lq is not None
    assert (gt.shape, lq.shape) == ((8, 16, 3), (2, 4, 3))
    write_picture(tmp_path / "lq" / "b.png", 4, 2)
    with pytest.raises(OptionError, match="b is in one of gt and lq only"):
        Pictures.open([SourceConfig(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))])


def test_sources_follow_one_another_and_a_cache_changes_nothing(folder: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "more" / "c.png", 7, 5, seed=9)
    configs = [SourceConfig(folder=str(folder)), SourceConfig(folder=str(tmp_path / "more"))]
    direct, cached = Pictures.open(configs), Pictures.open(configs, tmp_path / "cache")
    assert len(direct) == 3
    for _ in range(2):
        assert all(np.array_equal(direct.read(i)[0], cached.read(i)[0]) for i in range(3))
    assert len(list((tmp_path / "cache").iterdir())) == 3
    # A picture that was changed is decoded again.
    write_picture(tmp_path / "more" / "c.png", 9, 5, seed=8)
    assert cached.read(2)[0].shape == (5, 9, 3)


def test_a_reduced_copy_is_smooth_and_cached_beside_the_whole_one(tmp_path: Path) -> None:
    stripes = np.zeros((40, 80, 3), np.uint8)
    stripes[:, ::2] = 255
    (tmp_path / "in").mkdir()
    Image.fromarray(stripes).save(tmp_path / "in" / "a.png")
    Image.fromarray(stripes[:10, :16]).save(tmp_path / "in" / "b.png")
    folder = str(tmp_path / "in")
    both = [SourceConfig(folder=folder), SourceConfig(folder=folder, longest_side=20)]
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        pictures = Pictures.open(both, cache)
        assert [pictures.read(i)[0].shape for i in range(4)] == [(40, 80, 3), (10, 16, 3), (10, 20, 3), (10, 16, 3)]
        assert np.abs(pictures.read(2)[0].astype(int) - 128).max() < 16, "stripes finer than its pixels are grey"
    with pytest.raises(OptionError, match="longest_side does not suit ready pairs"):
        Pictures.open([SourceConfig(gt=folder, lq=folder, longest_side=20)])


def test_the_size_of_a_cache_is_told_from_headers(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.png").write_bytes(b"nonsense")
    for i in range(450):  # more than are opened
        write_picture(tmp_path / "many" / f"{i}.png", 10, 20)
    assert Pictures.open([SourceConfig(folder=str(folder))]).decoded_bytes() == 2 * 12 * 8 * 3
    assert Pictures.open([SourceConfig(folder=str(tmp_path / "many"))]).decoded_bytes() == 450 * 600
    reduced = [SourceConfig(folder=str(tmp_path / "many"), longest_side=10)]
    assert Pictures.open(reduced).decoded_bytes() == 450 * 150


def test_a_cache_that_cannot_be_written_only_costs_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    pictures = Pictures.open([SourceConfig(folder=str(folder))], tmp_path / "cache")
    assert pictures.read(0)[0].shape == (8, 12, 3)


def test_pixels_are_upright_and_eight_bit(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(np.zeros((4, 9, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(np.array([[0, 257 * 128, 65535]], np.uint16)).save(tmp_path / "b.png")
    pictures = Pictures.open([SourceConfig(folder=str(tmp_path))])
    assert pictures.read(0)[0].shape == (9, 4, 3)
    assert pictures.read(1)[0][0, :, 0].tolist() == [0, 128, 255]


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 64, 64)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    (tmp_path / "b.png").write_bytes(b"nonsense")
    pictures = Pictures.open([SourceConfig(folder=str(tmp_path))])
    for i, name in enumerate(("a.png", "b.png")):
        with pytest.raises(ImageError) as raised:
            pictures.read(i)
        assert str(raised.value).startswith(f"{tmp_path / name}: cannot be read: ")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SourceConfig(), "a source of pictures has none of folder, list, shards, gt"),
        (SourceConfig(folder="a", list="b"), "a source of pictures has both folder and list"),
        (SourceConfig(gt="a"), "a source of pairs needs both gt and lq"),
        (SourceConfig(folder="nowhere"), "nowhere: there is no such folder"),
        (SourceConfig(shards="no-*.tar"), "no-*.tar: no pictures are there"),
        (SourceConfig(list="x.txt", without_licence="BY"), "manifest and without_licence belong to a folder"),
    ],
)
def test_wrong_sources_are_one_line(config: SourceConfig, message: str, desk: Path) -> None:
    with pytest.raises(OptionError) as raised:
        Pictures.open([config])
    assert str(raised.value).startswith(message)

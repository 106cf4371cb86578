"""Samples are a function of (seed, number): whatever the batch, the workers, the rank and where a run goes on."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ccsr.data.levels import level_of
from ccsr.data.pairs import (
    DataConfig,
    DegradationConfig,
    Pair,
    PairDataset,
    endless_batches,
    enlarge,
    fixed_pairs,
    generator_of,
)
from ccsr.data.sources import Pictures, SourceConfig
from ccsr.degradation import BicubicDegradation, CameraDegradation, LightDegradation, StrongDegradation
from ccsr.errors import ImageError, OptionError
from ccsr.images.resample import enlarge as enlarge_of_inference
from helpers import write_picture


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(5):
        write_picture(folder / f"{i}.png", 48 + 4 * i, 48, seed=i)
    return Pictures.open([SourceConfig(folder=str(folder))])


def _config(**changes: object) -> DataConfig:
    return DataConfig(**{"crop": 16, "batch": 2, "workers": 0, **changes})  # type: ignore[arg-type]


def _first(dataset: PairDataset, count: int, start: int = 0, rank: int = 0, world: int = 1) -> list[Pair]:
    return list(islice(endless_batches(dataset, start, rank, world), count))


def _equal(a: list[Pair], b: list[Pair]) -> bool:
    return all(torch.equal(torch.cat([p[i] for p in a]), torch.cat([p[i] for p in b])) for i in (0, 1))


def test_workers_batches_and_ranks_share_out_the_same_samples(pictures: Pictures) -> None:
    torch.set_num_threads(2)  # workers have one
    plain = _first(PairDataset(pictures, _config(), seed=3), 6)
    assert plain[0].gt.shape == (2, 3, 16, 16)
    assert plain[0].lq.shape == (2, 3, 4, 4)
    assert _equal(plain, _first(PairDataset(pictures, _config(workers=2), seed=3), 6))
    assert _equal(plain, _first(PairDataset(pictures, _config(batch=4), seed=3), 3))
    assert _equal(plain[4:], _first(PairDataset(pictures, _config(), seed=3), 2, start=4))
    dataset = PairDataset(pictures, _config(), seed=3)
    ranks = [_first(dataset, 3, rank=r, world=2) for r in range(2)]
    assert _equal(plain, [ranks[i % 2][i // 2] for i in range(6)])
    assert not _equal(plain, _first(PairDataset(pictures, _config(), seed=4), 6))


def test_each_epoch_sees_every_picture_once_in_its_own_order(pictures: Pictures) -> None:
    dataset = PairDataset(pictures, _config(), seed=0)
    epochs = [[dataset.picture_of(5 * e + i) for i in range(5)] for e in range(20)]
    assert all(Counter(epoch) == Counter(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10


def test_a_batch_has_one_factor(pictures: Pictures) -> None:
    """Drawn by the batch's number: so that samples can be stacked, and a run goes on with the same."""
    config = _config(batch=4, degradation=DegradationConfig(clean_share=1.0, factors=(4, 2, 1)))
    batches = _first(PairDataset(pictures, config, seed=0), 12)
    sides = [pair.lq.shape[-1] for pair in batches]
    assert set(sides) == {4, 8, 16}
    assert [p.lq.shape[-1] for p in _first(PairDataset(pictures, config, seed=0), 2, start=7)] == sides[7:9]
    for pair in batches:
        if pair.lq.shape[-1] == 16:
            assert torch.equal(pair.lq, pair.gt)
    with pytest.raises(OptionError, match="do not suit a factor of 3"):
        PairDataset(pictures, _config(degradation=DegradationConfig(factors=(4, 3))), seed=0)


@pytest.mark.parametrize("kind", ["clean", "light", "camera", "strong"])
def test_a_whole_share_is_that_kind(kind: str, pictures: Pictures) -> None:
    config = DegradationConfig(**{f"{kind}_share": 1.0})  # type: ignore[arg-type]
    gt = _first(PairDataset(pictures, _config(batch=1), seed=0), 1)[0].gt[0]
    degradation: Any = {
        "clean": BicubicDegradation(), "light": LightDegradation(), "camera": CameraDegradation(),
        "strong": StrongDegradation(),
    }[kind]  # fmt: skip
    rng = generator_of(0)
    rng.random()
    assert torch.equal(config.draw(gt, generator_of(0)), degradation(gt, rng))


def test_levels_are_found_by_name() -> None:
    assert level_of("heavy_x4") == (DegradationConfig(), 4)
    assert level_of("clean_x1") == (DegradationConfig(clean_share=1.0), 1)
    for name in ("heavy", "worse_x4", "clean_x5", "clean_x"):
        with pytest.raises(OptionError, match=f"has '{name}'"):
            level_of(name)


def test_several_crops_of_one_degraded_region(pictures: Pictures) -> None:
    dataset = PairDataset(pictures, _config(region=32, per_region=2), seed=0)
    pair = dataset[0]
    assert pair.gt.shape == (2, 3, 16, 16)
    # Crops of one picture that lie on the grid of its low-quality pixels: reduced, they resemble these.
    small = torch.nn.functional.avg_pool2d(pair.gt, 4)
    assert float((small - pair.lq).abs().mean()) < 0.1


def test_ready_pairs_are_cut_at_the_same_place(tmp_path: Path) -> None:
    for i in range(3):
        gt = Image.open(write_picture(tmp_path / "gt" / f"{i}.png", 50, 61, seed=i))  # no multiples of 4
        gt.crop((0, 0, 48, 60)).resize((12, 15), Image.Resampling.BOX).save(tmp_path / f"{i}.png")
        (tmp_path / "lq").mkdir(exist_ok=True)
        (tmp_path / f"{i}.png").rename(tmp_path / "lq" / f"{i}.png")
    pictures = Pictures.open([SourceConfig(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))])
    for pair in _first(PairDataset(pictures, _config(turn=True), seed=0), 10):
        torch.testing.assert_close(
            torch.nn.functional.avg_pool2d(pair.gt, 4), pair.lq, atol=1.1 / 255, rtol=0
        )  # two roundings


def test_pictures_of_two_sizes_are_no_pair(tmp_path: Path) -> None:
    write_picture(tmp_path / "gt" / "a.png", 64, 64)
    write_picture(tmp_path / "lq" / "a.png", 32, 32)
    pictures = Pictures.open([SourceConfig(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))])
    with pytest.raises(ImageError, match="64x64 is not 4 times 32x32"):
        PairDataset(pictures, _config(), seed=0)[0]


def test_bad_pictures_are_skipped_with_a_line_each(tmp_path: Path) -> None:
    write_picture(tmp_path / "good.png", 32, 32)
    write_picture(tmp_path / "small.png", 32, 8)
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    dataset = PairDataset(Pictures.open([SourceConfig(folder=str(tmp_path))]), _config(), seed=0)
    lines = {line for pair in _first(dataset, 10) for line in pair.skipped}
    assert len(lines) == 2
    assert any("bad.png: cannot be read" in line for line in lines)
    assert any("small.png: 32x8 is smaller than the region of 16" in line for line in lines)
    (tmp_path / "good.png").unlink()
    with pytest.raises(ImageError, match="50 pictures in a row could not be used"):
        PairDataset(Pictures.open([SourceConfig(folder=str(tmp_path))]), _config(), seed=0)[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_only_bad_pictures_are_the_same_line_with_and_without_workers(workers: int, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    pictures = Pictures.open([SourceConfig(folder=str(tmp_path))])
    with pytest.raises(ImageError) as raised:
        _first(PairDataset(pictures, _config(workers=workers), seed=0), 1)
    line = str(raised.value)
    assert line.startswith(f"{tmp_path / 'bad.png'}: cannot be read: ")
    assert line.endswith("; 50 pictures in a row could not be used")
    assert "Traceback" not in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 18}, "data.crop 18 and data.region 18 do not suit a factor of 4"),
        ({"region": 12}, "data.crop 16 and data.region 12 do not suit a factor of 4"),
        ({"batch": 3, "per_region": 2}, "data.batch 3 is no multiple of data.per_region 2"),
    ],
)
def test_sizes_that_do_not_fit(changes: dict[str, object], message: str, pictures: Pictures) -> None:
    with pytest.raises(OptionError) as raised:
        PairDataset(pictures, _config(**changes), seed=0)
    assert str(raised.value).startswith(message)


def test_pairs_to_judge_on_are_always_the_same(pictures: Pictures) -> None:
    config = _config(degradation=DegradationConfig(light_share=0.5))
    first, again = (fixed_pairs(pictures, config, 3, 32) for _ in range(2))
    assert len(first) == 3
    assert first[0].gt.shape == (1, 3, 32, 32)
    assert _equal(first, again)


def test_the_enlargement_is_that_of_inference(pictures: Pictures) -> None:
    lq = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    ours = enlarge(lq, (36, 28))[0].permute(1, 2, 0).numpy()
    theirs = enlarge_of_inference(lq[0].permute(1, 2, 0).numpy(), 28, 36)
    assert abs(ours - theirs).max() < 1e-5

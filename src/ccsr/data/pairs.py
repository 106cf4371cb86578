"""Training pairs: a good crop and its low-quality self, made by workers while the network trains.

Sample number n of a run, counted over all processes, is a function of (seed, n) alone: which picture (epoch n // N, its
place in that epoch's order n % N), which crop, which degradation. So a run goes on in the middle of an epoch by
starting at another n, more workers change nothing, and no two processes ever see the same sample.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import lcm
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset, Sampler

from ccsr.data.sources import Pictures, SourceConfig
from ccsr.degradation import (
    CAMERA,
    PUBLISHED,
    BicubicDegradation,
    Camera,
    CameraDegradation,
    DegradationRound,
    LightDegradation,
    RealESRGANDegradation,
    StrongDegradation,
)
from ccsr.errors import CCSRError, ImageError, OptionError

PICTURE_GRID = 8
"""Sides of the pictures that are judged on are multiples of it: of every VAE's factor."""
_TRIES = 50
"""Pictures that a sample tries in turn before it says that there is something wrong with all of them."""


@dataclass(frozen=True)
class DegradationConfig:
    """How a good picture becomes a low-quality one, where no low-quality one is given."""

    kind: Literal["realesrgan", "bicubic"] = "realesrgan"
    factor: int = 4
    """Side of the good picture over that of the low-quality one."""
    factors: tuple[int, ...] = ()
    """In place of `factor`: one of these is drawn for each batch."""
    clean_share: float = 0.0
    """Share of regions that are only reduced, by the bicubic filter."""
    light_share: float = 0.0
    """Share of regions that get a light degradation instead: people also enlarge pictures that are not bad."""
    camera_share: float = 0.0
    """Share of regions that get what a camera does: a wide blur, noise, sharpening."""
    camera: Camera = CAMERA
    strong_share: float = 0.0
    """Share of regions that get strong noise and a poor JPEG."""
    first: DegradationRound = PUBLISHED[0]
    second: DegradationRound = PUBLISHED[1]

    def draw(self, gt: Tensor, rng: np.random.Generator, factor: int | None = None) -> Tensor:
        """Degrade one picture, (3, h, w) in 0..1, to a `factor`-th of its side (default: the config's)."""
        factor = factor or self.factor
        chance = rng.random()
        shares: tuple[tuple[float, Callable[..., Tensor]], ...] = (
            (self.clean_share, BicubicDegradation(factor)),
            (self.light_share, LightDegradation(factor)),
            (self.camera_share, CameraDegradation(factor, self.camera)),
            (self.strong_share, StrongDegradation(factor)),
        )
        for share, degradation in shares:
            if chance < share:
                return degradation(gt, rng)
            chance -= share
        if self.kind == "bicubic":
            return BicubicDegradation(factor)(gt, rng)
        return RealESRGANDegradation(factor, (self.first, self.second))(gt, rng)


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and how pairs are cut from them."""

    sources: tuple[SourceConfig, ...] = ()
    crop: int = 512
    """Side of a good crop in pixels."""
    batch: int = 4
    """Crops in one pass of one process."""
    region: int | None = None
    """Side that is degraded at once and that `per_region` crops are cut from; None: the crop itself."""
    per_region: int = 1
    flip: bool = True
    turn: bool = False
    """Quarter turns, too."""
    workers: int = 2
    """Processes that prepare samples beside the one that trains; 0: it does so itself."""
    cache: bool = False
    """Keep decoded pictures in the run folder: for sets that are small and slow to decode."""
    degradation: DegradationConfig = field(default_factory=DegradationConfig)


def check_sizes(config: DataConfig, key: str = "data") -> None:
    """Whether crop, region, factor and batch fit together.

    Raises:
        OptionError: they do not; `key` is how the config is called.
    """
    region = config.region or config.crop
    for factor in config.degradation.factors or (config.degradation.factor,):
        if config.crop % factor or region % factor or region < config.crop:
            raise OptionError(
                f"{key}.crop {config.crop} and {key}.region {region} do not suit a factor of {factor}",
                hint="multiples of it, the region at least as large as the crop",
            )
    if config.batch % config.per_region:
        raise OptionError(
            f"{key}.batch {config.batch} is no multiple of {key}.per_region {config.per_region}",
            hint="a batch is made of whole regions",
        )


class Pair(NamedTuple):
    """What one sample or batch holds."""

    gt: Tensor
    """(B, 3, crop, crop), 0..1."""
    lq: Tensor
    """(B, 3, crop / factor, crop / factor), 0..1."""
    skipped: tuple[str, ...]
    """One line for each picture that could not be used on the way."""


def enlarge(lq: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic enlargement of (B, 3, h, w) to (height, width), the filter that inference uses, clamped to 0..1."""
    # antialias selects Pillow's cubic (a = -0.5); without it torch uses another one.
    return interpolate(lq, size, mode="bicubic", antialias=True).clamp(0, 1)


def generator_of(seed: int, *words: int) -> np.random.Generator:
    """The generator that belongs to a seed and a few numbers, the same on every machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


class PairDataset(Dataset[Pair]):
    """Pairs by sample number; each has `per_region` crops of one picture."""

    def __init__(self, pictures: Pictures, config: DataConfig, seed: int, *, ordered: bool = False) -> None:
        check_sizes(config)
        if not len(pictures):
            raise OptionError("data.sources is empty", hint="for instance data.sources=FOLDER")
        self.pictures, self.config, self.seed, self.ordered = pictures, config, seed, ordered
        self.region = config.region or config.crop
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def picture_of(self, number: int) -> int:
        """Index of the picture of sample `number`: each epoch has an order of its own."""
        epoch, place = divmod(number, len(self.pictures))
        if self.ordered:
            return place
        if epoch != self._epoch[0]:
            self._epoch = (epoch, generator_of(self.seed, 0, epoch).permutation(len(self.pictures)))
        return int(self._epoch[1][place])

    def factor_of(self, number: int) -> int:
        """The factor of sample `number`: one for all of its batch, so that they can be one tensor."""
        config = self.config
        if not config.degradation.factors:
            return config.degradation.factor
        rng = generator_of(self.seed, 4, number // (config.batch // config.per_region))
        return int(rng.choice(config.degradation.factors))

    def __getitem__(self, number: int) -> Pair:
        rng, factor = generator_of(self.seed, 1, number), self.factor_of(number)
        skipped: list[str] = []
        index = self.picture_of(number)
        for _ in range(_TRIES):
            try:
                return self._cut(index, rng, factor, tuple(skipped))
            except ImageError as error:
                skipped.append(str(error))
                # Another one by the sample's own generator: the next in order has its turn anyway.
                index = int(rng.integers(len(self.pictures)))
        raise ImageError(f"{skipped[-1]}; {_TRIES} pictures in a row could not be used", path=None)

    def _cut(self, index: int, rng: np.random.Generator, factor: int, skipped: tuple[str, ...]) -> Pair:
        config, side = self.config, self.region
        gt, lq = self.pictures.read(index)
        label = self.pictures[index].label
        height, width = gt.shape[:2]
        if lq is not None:
            # Sides that are no multiples of the factor are cut; anything else means that these are no pair.
            if (lq.shape[0], lq.shape[1]) not in {
                (height // factor, width // factor),
                (-(-height // factor), -(-width // factor)),
            }:
                raise ImageError(f"{width}x{height} is not {factor} times {lq.shape[1]}x{lq.shape[0]}", path=label)
            height, width = height // factor * factor, width // factor * factor
        if min(height, width) < side:
            raise ImageError(f"{width}x{height} is smaller than the region of {side}", path=label)
        grid = factor if lq is not None else 1
        y, x = (int(rng.integers((length - side) // grid + 1)) * grid for length in (height, width))
        flip, turn = config.flip and bool(rng.integers(2)), int(rng.integers(4)) if config.turn else 0
        region = _picture(gt[y : y + side, x : x + side], flip, turn)
        if lq is None:
            small = config.degradation.draw(region, rng, factor)
        else:
            rows, columns = (slice(a // factor, (a + side) // factor) for a in (y, x))
            small = _picture(lq[rows, columns], flip, turn)
        gts, lqs = [], []
        for _ in range(config.per_region):
            y, x = (int(v) for v in rng.integers(0, (side - config.crop) // factor + 1, size=2))
            small_side = config.crop // factor
            lqs.append(small[:, y : y + small_side, x : x + small_side])
            gts.append(region[:, factor * y : factor * y + config.crop, factor * x : factor * x + config.crop])
        return Pair(torch.stack(gts), torch.stack(lqs), skipped)


def _picture(pixels: np.ndarray, flip: bool, turn: int) -> Tensor:
    pixels = np.rot90(pixels[:, ::-1] if flip else pixels, turn)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() / 255


class _Numbers(Sampler[list[int]]):
    """Sample numbers of one process, batch after batch, without end."""

    def __init__(self, start: int, samples: int, rank: int, world: int) -> None:
        self.start, self.samples, self.rank, self.world = start, samples, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.start * self.world + self.rank
        while True:
            yield list(range(batch * self.samples, (batch + 1) * self.samples))
            batch += self.world


def _leave_interrupts(worker: int) -> None:
    """A keyboard or a scheduler signals all processes at once; the training one decides what becomes of it.

    Workers end when they are told to through their queue, or when their parent is gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def joined(pairs: list[Pair]) -> Pair:
    """One batch of several samples."""
    return Pair(
        torch.cat([p.gt for p in pairs]),
        torch.cat([p.lq for p in pairs]),
        tuple(line for p in pairs for line in p.skipped),
    )


class _Carried(Dataset["Pair | CCSRError"]):
    """Errors as values: raised in a worker, one would arrive with the worker's whole traceback as its message."""

    def __init__(self, dataset: PairDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, number: int) -> Pair | CCSRError:
        try:
            return self.dataset[number]
        except CCSRError as error:
            return error


def _joined_or_error(samples: list[Pair | CCSRError]) -> Pair | CCSRError:
    pairs = [sample for sample in samples if isinstance(sample, Pair)]
    return joined(pairs) if len(pairs) == len(samples) else next(s for s in samples if isinstance(s, CCSRError))


def _raised(batch: Pair | CCSRError) -> Pair:
    if isinstance(batch, CCSRError):
        raise batch
    return batch


def endless_batches(dataset: PairDataset, start: int, rank: int = 0, world: int = 1) -> Iterator[Pair]:
    """Endless batches of one process of `world`, from its batch number `start` on.

    The iterator raises what the data set raises, the same with and without workers.
    """
    config = dataset.config
    extra: dict[str, Any] = {"prefetch_factor": 2, "persistent_workers": True} if config.workers else {}
    loader = DataLoader(
        _Carried(dataset),
        batch_sampler=_Numbers(start, config.batch // config.per_region, rank, world),
        num_workers=config.workers,
        collate_fn=_joined_or_error,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_interrupts,
        **extra,
    )
    return map(_raised, iter(loader))


def fixed_pairs(pictures: Pictures, config: DataConfig, count: int, crop: int) -> list[Pair]:
    """The same pairs at every call, one centre crop of each of the first `count` pictures: to judge a network on.

    Pictures that cannot be used are left out; of those smaller than the crop the largest square is taken.
    """
    pairs: list[Pair] = []
    for index in range(len(pictures)):
        if len(pairs) == count:
            break
        try:
            gt, lq = pictures.read(index)
        except ImageError:
            continue
        factor = config.degradation.factor
        grid = lcm(factor, PICTURE_GRID)
        side = min(crop, *gt.shape[:2]) // grid * grid
        if side == 0:
            continue
        y, x = ((length - side) // (2 * factor) * factor for length in gt.shape[:2])
        good = _picture(gt[y : y + side, x : x + side], False, 0)
        if lq is None:
            low = config.degradation.draw(good, generator_of(0, 2, index))
        else:
            low = _picture(lq[y // factor : (y + side) // factor, x // factor : (x + side) // factor], False, 0)
        pairs.append(Pair(good[None], low[None], ()))
    return pairs

"""One run of a stage, from its config to the model folder: what `ccsr train` does."""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from ccsr import atomic
from ccsr.data.levels import LEVELS, level_of
from ccsr.data.pairs import DataConfig, PairDataset, endless_batches, fixed_pairs
from ccsr.data.sources import Pictures, SourceConfig, remove_cache
from ccsr.errors import MissingExtraError, OptionError, TrainingError
from ccsr.log import get_logger
from ccsr.networks import CompactAutoencoder, latent_factor
from ccsr.plan import bf16_is_faster
from ccsr.training import checkpoints
from ccsr.training.codec_start import start_codec
from ccsr.training.config import Config, LoopConfig, ModelConfig, PretrainConfig, Stage1Config, ValidationConfig
from ccsr.training.loop import Listener, Progress, TrainingStage, fit
from ccsr.training.networks import ModelInTraining, pack, start_networks, with_base
from ccsr.training.pretrain import VAEStage, set_scale
from ccsr.training.stage1 import Stage1
from ccsr.training.stage2 import Stage2
from ccsr.training.validation import SMALLEST, Validation
from ccsr.training.yaml_config import as_yaml, differences, plain

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = get_logger(__name__)

CONFIG = "config.yaml"
MODEL = "model"
DECODED = "decoded"
FINISHED = "finished.json"
"""Written after the model: a killed or continued run may have an older model."""
LOCK = ".ccsr-lock"
"""Locked while a run is at work."""
_SCALE_PAIRS = 64
_START_PICTURES, _START_CROP = 256, 256
"""What a codec starts from: so many pictures, and the side of the square that is taken from each."""

# What may change between a run and its continuation: nothing that an earlier step has depended on. The steps of a
# cosine are held apart, by `_keep`.
_LOOP_FREE = ("steps", "hours", "log_every", "evaluate_every", "save_every", "keep", "tracker", "checkpointing")
_FREE = frozenset(
    {"run", "model.name", "model.licence", "model.dtype", "model.color_fix"}
    | {f"validation.{name}" for name in ("sources", "count", "crop", "sheet")}
    | {f"{prefix}loop.{name}" for prefix in ("", "vae.", "denoiser.") for name in _LOOP_FREE}
    | {f"{prefix}data.{name}" for prefix in ("", "vae.", "denoiser.") for name in ("workers", "cache")}
)


class _Phase(NamedTuple):
    """One loop of a run: the only one, or one of a pre-training's two."""

    name: str
    """Of its settings and its folder in the run's; empty for the only one."""
    loop: LoopConfig

    @property
    def prefix(self) -> str:
        return f"{self.name}." if self.name else ""

    def folder(self, run: Path) -> Path:
        return run / self.name


def _phases(config: Config) -> list[_Phase]:
    """In their order, without those that are skipped."""
    if not isinstance(config, PretrainConfig):
        return [_Phase("", config.loop)]
    phases = {"vae": config.vae, "denoiser": config.denoiser}
    return [_Phase(name, phase.loop) for name, phase in phases.items() if not phase.skip]


@dataclass
class Outcome:
    """How a run ended."""

    finished: bool
    """False: stopped by time or a signal; the same command goes on."""
    step: int
    model: Path | None
    """The model folder, when one was written."""


def train(config: Config, listen: Listener = lambda _: None) -> Outcome:
    """Run a stage, or go on with it, and pack the model.

    Raises:
        OptionError: settings that contradict the run folder's, sources without pictures.
        WeightsError: the base is not there.
        TrainingError: a disk that is full, losses that are not finite, another process at work in the run folder.
    """
    run = Path(config.run)
    if (step := _finished(run, config)) is not None:
        return Outcome(True, step, run / MODEL)
    for phase in _phases(config):
        _check_machine(phase.loop)
    with _alone(run):
        return _train(config, run, listen)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Two runs in one folder would write over each other's checkpoints. Of processes that train together the first
    holds the lock; data workers do not inherit it, so that it goes with the process, even one that was killed."""
    with ExitStack() as stack:
        try:
            run.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((run / LOCK).open("wb"))
        except OSError as error:
            raise TrainingError(f"cannot be written: {error.strerror}", path=run) from error
        if fcntl and os.environ.get("RANK", "0") == "0":
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise TrainingError(
                    "another process is training in this folder",
                    path=run, hint="wait for its end, or give run=ANOTHER-FOLDER",
                ) from None  # fmt: skip
            except OSError:
                log.debug("no locks here", exc_info=True)
        yield


def _train(config: Config, run: Path, listen: Listener) -> Outcome:
    _keep(run, config)
    if isinstance(config, PretrainConfig):
        return _pretrain(config, run, listen)
    pictures, judged = _pictures(config, run, listen)
    loop = _on_this_machine(config.loop)
    accelerator = _accelerator(loop, run)
    networks = _started(config.model, loop, pictures, accelerator)
    validation = _validation(judged, config.validation, config.data)
    stage: TrainingStage
    if isinstance(config, Stage1Config):
        stage = Stage1(networks, config.model, config.loss, loop, accelerator, validation)
    else:
        stage = Stage2(networks, config.model, config.loss, loop, accelerator, validation)
    name = "stage1" if isinstance(config, Stage1Config) else "stage2"
    finished = _fit(stage, networks, pictures, config.data, loop, run, accelerator, listen)
    return _packed(networks, config, run, name, len(pictures), accelerator, finished)


def _pretrain(config: PretrainConfig, run: Path, listen: Listener) -> Outcome:
    """The VAE in `run/vae`, then the denoiser in `run/denoiser`, which starts from what the first has packed."""
    vae_data, data = config.vae.data, config.denoiser.data
    vae_loop, loop = _on_this_machine(config.vae.loop), _on_this_machine(config.denoiser.loop)
    pictures, judged = _pictures(config, run, listen)
    model, first = config.model, run / "vae" / MODEL
    if not config.vae.skip:
        if not first.exists():
            accelerator = _accelerator(vae_loop, run / "vae")
            networks = _started(model, vae_loop, pictures, accelerator)
            stage = VAEStage(
                networks, config.vae_loss, vae_loop, accelerator, _validation(judged, config.validation, vae_data)
            )
            if not _fit(stage, networks, pictures, vae_data, vae_loop, run / "vae", accelerator, listen):
                return Outcome(False, checkpoints.latest(run / "vae") or 0, None)
            some = fixed_pairs(pictures, vae_data, _SCALE_PAIRS, vae_data.crop)
            set_scale(networks.vae, some, accelerator.device)
            if accelerator.is_main_process:
                pack(networks, replace(model, dtype="fp32"), first, "its VAE trained by ccsr train pretrain")
            accelerator.wait_for_everyone()
        # The denoiser's parts start anew still, unless they came from a base.
        model = with_base(model, first, tuple(p for p in model.fresh if p != "vae") if model.base else ())
    accelerator = _accelerator(loop, run / "denoiser")
    networks = _started(model, loop, pictures, accelerator)
    finished = True
    if not config.denoiser.skip:
        trained = replace(model, trained=tuple(p for p in model.trained if p != "vae"))
        stage1 = Stage1(
            networks, trained, config.denoiser_loss, loop, accelerator,
            _validation(judged, config.validation, data),
        )  # fmt: skip
        finished = _fit(stage1, networks, pictures, data, loop, run / "denoiser", accelerator, listen)
    return _packed(networks, config, run, "pretrain", len(pictures), accelerator, finished)


def _fit(
    stage: TrainingStage,
    networks: ModelInTraining,
    pictures: Pictures,
    data: DataConfig,
    loop: LoopConfig,
    run: Path,
    accelerator: Accelerator,
    listen: Listener,
) -> bool:
    factor = latent_factor(networks.vae)
    if data.crop % factor:
        raise OptionError(f"data.crop is {data.crop}", hint=f"this model needs a multiple of {factor}")
    dataset = PairDataset(pictures, data, loop.seed)
    rank, world = accelerator.process_index, accelerator.num_processes
    start = functools.partial(endless_batches, dataset, rank=rank, world=world)
    if loop.tracker:
        accelerator.init_trackers("ccsr")
    finished = fit(stage, start, loop, run, accelerator, listen)
    if loop.tracker:
        accelerator.end_training()
    return finished


def _packed(
    networks: ModelInTraining,
    config: Config,
    run: Path,
    stage: str,
    count: int,
    accelerator: Accelerator,
    finished: bool,
) -> Outcome:
    accelerator.wait_for_everyone()
    last = _phases(config)[-1]
    step = checkpoints.latest(last.folder(run)) or 0
    if finished and accelerator.is_main_process:
        how = f"trained by ccsr train {stage}, {step} steps on {count} pictures"
        pack(networks, config.model, run / MODEL, how)
        (run / FINISHED).write_text(json.dumps({"step": step}), encoding="utf-8")
        remove_cache(run / DECODED)
    accelerator.wait_for_everyone()
    return Outcome(finished, step, run / MODEL if finished else None)


def _accelerator(loop: LoopConfig, run: Path) -> Accelerator:
    # Its own mixed precision is one for the whole program; phases and runs may differ, so the stages have theirs.
    return Accelerator(mixed_precision="no", log_with=loop.tracker, project_dir=str(run))


def _check_machine(loop: LoopConfig) -> None:
    """Whether this machine has what a phase asks for, told before the first phase begins."""
    if loop.precision == "fp16" and not torch.cuda.is_available():
        raise OptionError("loop.precision is fp16 without a GPU", hint="choose bf16 or fp32")
    if not loop.tracker:
        return
    # Accelerate passes over a tracker that is not installed without a word.
    known, installed = [str(t) for t in LoggerType], [str(t) for t in get_available_trackers()]
    if loop.tracker not in {*known, *LOGGER_TYPE_TO_CLASS}:
        raise OptionError(f"loop.tracker is {loop.tracker}", hint=f"choose from {', '.join(known)}")
    if loop.tracker in known and loop.tracker not in installed and not (loop.tracker == "all" and installed):
        raise MissingExtraError(
            f"loop.tracker is {loop.tracker}, which is not installed",
            hint='pip install "ccsr[train]" brings tensorboard; without a tracker log.jsonl is written all the same',
        )


def _on_this_machine(loop: LoopConfig) -> LoopConfig:
    """`auto` made definite: bf16 where it trains faster."""
    if loop.precision != "auto":
        return loop
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else bf16_is_faster(backward=True)
    return replace(loop, precision="bf16" if fast else "fp32")


def _pictures(config: Config, run: Path, listen: Listener) -> tuple[Pictures, Pictures]:
    """What is trained on, and what is judged on."""
    validation, cache = config.validation, run / DECODED if caches(config) else None
    every = Pictures.open(sources_of(config), cache)
    if cache and not cache.exists():
        listen(Progress(0, 0, kind="note", text=f"{cache}: {cache_note(every)}"))
    if validation.sources:
        return every, Pictures.open(validation.sources)
    count = min(validation.hold_out, len(every) // 2)
    held = {i * len(every) // count for i in range(count)} if count else set()
    kept = [entry for i, entry in enumerate(every) if i not in held]
    return Pictures(kept, cache), Pictures([every[i] for i in sorted(held)])


def _started(model: ModelConfig, loop: LoopConfig, pictures: Pictures, accelerator: Accelerator) -> ModelInTraining:
    """The networks, on their device; a codec of nano's that starts anew has what these pictures give it."""
    networks = start_networks(model, loop.seed)
    if isinstance(networks.vae, CompactAutoencoder) and (model.base is None or "vae" in model.fresh):
        some = fixed_pairs(pictures, DataConfig(degradation=LEVELS["clean"]), _START_PICTURES, _START_CROP)
        start_codec(networks.vae, some, model.trunk)
    return networks.to(accelerator.device)


def _validation(pictures: Pictures, config: ValidationConfig, data: DataConfig) -> Validation:
    levels = {}
    for name in config.levels:
        damage, factor = level_of(name)
        degradation = replace(damage, factor=factor)
        pairs = fixed_pairs(pictures, replace(data, degradation=degradation), config.count, config.crop)
        levels[name] = [pair for pair in pairs if min(pair.gt.shape[-2:]) >= SMALLEST]
    if levels:
        return Validation([], {name: pairs for name, pairs in levels.items() if pairs}, config.sheet)
    return Validation(fixed_pairs(pictures, data, config.count, config.crop), sheet=config.sheet)


def sources_of(config: Config) -> tuple[SourceConfig, ...]:
    """Where a config's training pictures are."""
    return config.sources if isinstance(config, PretrainConfig) else config.data.sources


def caches(config: Config) -> bool:
    """Whether decoded pictures are kept while a run lasts."""
    if isinstance(config, PretrainConfig):
        return config.vae.data.cache or config.denoiser.data.cache
    return config.data.cache


def cache_note(pictures: Pictures) -> str:
    """What the cache of some pictures takes, in a few words."""
    size = pictures.decoded_bytes()
    said = f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{max(1, round(size / 1e6))} MB"
    return f"decoded pictures take about {said} until the run has finished"


def _finished(run: Path, config: Config) -> int | None:
    """The step that the folder's model was packed after, if it is what this config ends in."""
    kept = _read(run)
    try:
        step = int(json.loads((run / FINISHED).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError):
        return None
    last = _phases(config)[-1]
    # The model's own step counts, and not the file's: where a cosine was ended early, that is the cosine's length.
    same = kept is not None and not differences(config, kept, frozenset({"run", f"{last.prefix}loop.steps"}))
    return step if same and step == last.loop.steps and (run / MODEL).exists() else None


def _keep(run: Path, config: Config) -> None:
    """Write the resolved config into the run folder, or hold it against the one that is there."""
    kept, settings = _read(run), plain(config)
    begun = [(p, step) for p in _phases(config) if (step := checkpoints.latest(p.folder(run))) is not None]
    if kept is not None and begun:
        # Nothing has depended yet on the settings of a pre-training's second phase.
        later = {"denoiser", "denoiser_loss"} if all(p.name != "denoiser" for p, _ in begun) else set()
        changed = differences(config, kept, _FREE | later)
        if changed:
            more = f" (and {len(changed) - 1} more)" if changed[1:] else ""
            raise OptionError(
                f"this run began with another {changed[0]}{more}",
                path=run, hint="give run=ANOTHER-FOLDER to begin anew",
            )  # fmt: skip
        for phase, step in begun:
            _keep_cosine(phase, step, run, kept, settings)
    try:
        with atomic.file(run / CONFIG) as file:  # each of several processes writes the same
            file.write(as_yaml(settings).encode())
    except OSError as error:
        raise TrainingError(f"cannot be written: {error.strerror}", path=run) from error


def _keep_cosine(phase: "_Phase", step: int, run: Path, kept: Mapping[str, Any], settings: dict[str, Any]) -> None:
    """The length of a cosine that `step` steps were made under stays the run's, also in `settings`.

    Raises:
        OptionError: further steps would be made under another.
    """
    if phase.loop.schedule != "cosine":
        return
    before, now = ((s[phase.name] if phase.name else s)["loop"] for s in (kept, settings))
    length = before.get("steps", now["steps"])
    if now["steps"] not in (length, *range(step + 1)):
        key = f"{phase.prefix}loop.steps"
        raise OptionError(
            f"{key} is {now['steps']}, and the rate of this run falls by a cosine over {length} steps",
            path=run,
            hint=f"give {key}={length} to go on, {key}={step} to end it here, or run=ANOTHER-FOLDER to begin anew",
        )
    now["steps"] = length


def _read(run: Path) -> dict[str, Any] | None:
    try:
        content = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None

"""Learned metrics of other libraries, in an environment of their own; nothing of them is imported until asked for.

Weights never come over the network: they are files in the folder that `CCSR_METRIC_WEIGHTS` names, under the names
that the libraries publish them with.
"""

import atexit
import importlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ccsr.errors import ImageError, MissingExtraError, WeightsError
from ccsr.log import get_logger

log = get_logger("metrics")
FOLDER_VARIABLE = "CCSR_METRIC_WEIGHTS"
LICENCES = {
    "pyiqa": "PolyForm Noncommercial 1.0.0",
    "torchmetrics": "Apache-2.0",
}
_HUB = "huggingface.co/chaofengc/IQA-PyTorch-Weights"
_TORCH = "download.pytorch.org/models"
_CLIP = "openaipublic.azureedge.net/clip/models/afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
FILE_SOURCES = {
    "LPIPS_v0.1_alex-df73285e.pth": _HUB,
    "alexnet-owt-7be5be79.pth": _TORCH,
    "DISTS_weights-f5e65c96.pth": _HUB,
    "vgg16-397923af.pth": _TORCH,
    "pt_inception-2015-12-05-6726825d.pth": _HUB,
    "RN50.pt": _CLIP,
    "musiq_koniq_ckpt-e95806b9.pth": _HUB,
    "MANIQA_PIPAL-ae6d356b.pth": _HUB,
    "ckpt_koniq10k.pt": _HUB,
}
"""Where each file of weights is published, under its name."""
_SCRIPTS = ("RN50.pt",)
_told: set[str] = set()


@dataclass(frozen=True)
class LibraryMetric:
    """A metric of another library: its name there, the files that it needs, and what it is called with."""

    library: str
    call: str
    """pyiqa's name of the metric, or the class in torchmetrics."""
    files: tuple[str, ...]
    needs_gt: bool = True
    of_set: bool = False

    def load(self) -> Callable[[Any, Any], float]:
        """The scorer.

        Raises:
            MissingExtraError: the library is not installed.
            WeightsError: a file of weights is not in the folder.
        """
        if not _is_installed(self.library):
            raise MissingExtraError(
                f"{self.library} is not installed",
                hint=f"its licence: {LICENCES[self.library]}; docs/evaluation.md tells how to install it",
            )
        folder = weights_folder(self.files)
        if self.library not in _told:
            _told.add(self.library)
            log.warning("%s is used under its own licence: %s", self.library, LICENCES[self.library])
        _offline(folder, self.files)
        return _from_pyiqa(self) if self.library == "pyiqa" else _from_torchmetrics(self)


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ValueError:  # somebody put None into sys.modules
        return False


def weights_folder(files: tuple[str, ...]) -> Path:
    """The folder that `CCSR_METRIC_WEIGHTS` names, if all of `files` lie there.

    Raises:
        WeightsError: naming the first file that does not.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if missing := [file for file, path in found_files(files).items() if path is None]:
        raise WeightsError(f"weights not found: {', '.join(missing)}", path=named, hint=f"set {FOLDER_VARIABLE}")
    return Path(named or ".")


def _offline(folder: Path, files: tuple[str, ...]) -> None:
    """Let the libraries find the files where they keep their downloads, in a folder of this process alone.

    Raises:
        WeightsError: a file holds more than tensors. The libraries would run it.
    """
    import torch

    for file in files:
        if file in _SCRIPTS:
            continue  # no pickle, and the library compares its hash
        try:
            torch.load(folder / file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise WeightsError("is no file of plain tensors", path=folder / file, hint="fetch it again") from error
    hub = _hub()
    for place in ("pyiqa", "checkpoints", "clip"):
        (hub / place).mkdir(exist_ok=True)
        for file in files:
            if not (hub / place / file).exists():
                (hub / place / file).symlink_to((folder / file).resolve())
    torch.hub.set_dir(hub)


def found_files(files: tuple[str, ...]) -> dict[str, Path | None]:
    """Where each file lies in the folder that `CCSR_METRIC_WEIGHTS` names; None: it does not."""
    named = os.environ.get(FOLDER_VARIABLE)
    return {file: path if named and (path := Path(named) / file).is_file() else None for file in files}


@cache
def _hub() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ccsr-metrics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _from_pyiqa(metric: LibraryMetric) -> Callable[[Any, Any], float]:
    import torch

    pyiqa, timm = (importlib.import_module(name) for name in ("pyiqa", "timm"))
    # Read once at its import, which may have been before ours.
    importlib.import_module("pyiqa.utils.download_util").__dict__["DEFAULT_CACHE_DIR"] = str(_hub() / "pyiqa")
    made = timm.__dict__["create_model"]
    # MANIQA's file holds its backbone too; asking for the pretrained one would go to the network.
    timm.__dict__["create_model"] = lambda *words, **options: made(*words, **{**options, "pretrained": False})
    try:
        model = pyiqa.create_metric(metric.call, device="cpu")
    finally:
        timm.__dict__["create_model"] = made
    if metric.of_set:

        def score_folders(sr: Any, gt: Any) -> float:
            with _as_image_error(metric):
                return float(model(str(sr), str(gt)))

        return score_folders

    def score(sr: np.ndarray, gt: np.ndarray) -> float:
        # Some of them draw patches at random: the same picture gets the same figure.
        with _as_image_error(metric), torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            return float(model(_tensor(sr), _tensor(gt)) if metric.needs_gt else model(_tensor(sr)))

    return score


def _from_torchmetrics(metric: LibraryMetric) -> Callable[[Any, Any], float]:
    import torch

    image = importlib.import_module("torchmetrics.image")
    # The heads come with the library, the backbone is torchvision's file.
    model = getattr(image, metric.call)(net_type="alex", normalize=True)

    def score(sr: np.ndarray, gt: np.ndarray) -> float:
        with _as_image_error(metric), torch.inference_mode():
            return float(model(_tensor(sr), _tensor(gt)))

    return score


@contextmanager
def _as_image_error(metric: LibraryMetric) -> Iterator[None]:
    """What a library raises for a picture, mostly one too small for its network, is said of that picture alone."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ImageError(f"{metric.library} cannot score it: {first}") from error


def _tensor(picture: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].float() / 255

"""From what people type after `--model` to a folder on this machine."""

import getpass
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from platformdirs import user_cache_path

from ccsr.errors import WeightsError
from ccsr.log import get_logger
from ccsr.weights.files import first_line
from ccsr.weights.layouts import NETWORKS, SUFFIXES, WEIGHTS, base_root, child, weights_file
from ccsr.weights.manifest import file_sha256

logger = get_logger("weights")

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")

# Tensors and json, by the places where a model has them: a repository's other files are neither fetched nor run.
# The tokenizer's merges are the one plain text among them.
_HUB_FILES = [
    "model_index.json",
    "manifest.json",
    "embeddings.safetensors",
    *(f"{part}/*.json" for part in ("unet", "controlnet", "vae", "scheduler", "tokenizer", "text_encoder")),
    *(f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "controlnet", "vae")),
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
]
_TEXT_WEIGHTS = ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin")


def cache_folder() -> Path:
    """Where downloads are kept: `CCSR_HOME`, or the platform's user cache folder."""
    return Path(os.environ.get("CCSR_HOME") or user_cache_path("ccsr", appauthor=False))


def writable_cache_folder() -> Path:
    """`cache_folder` where it can be written, else a folder of this user's among the temporary ones, with a notice.

    Raises:
        WeightsError: neither can be.
    """
    wanted = cache_folder()
    own = Path(tempfile.gettempdir()) / f"ccsr-{os.getuid() if hasattr(os, 'getuid') else getpass.getuser()}"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if os.access(wanted, os.W_OK):
            return wanted
    except OSError as error:
        logger.debug("%s: %s", wanted, error)
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        # Anybody may make a folder of that name first, and weights out of it would be theirs.
        if own.is_symlink() or (hasattr(os, "getuid") and own.stat().st_uid != os.getuid()):
            raise WeightsError("belongs to somebody else", path=own, hint="set CCSR_HOME to a folder of yours")
    except OSError as error:
        raise WeightsError(
            f"neither here nor in {own} can a cache be kept: {error}", path=wanted, hint="set CCSR_HOME to a folder"
        ) from error
    logger.warning("%s cannot be written: downloads go to %s (CCSR_HOME sets another place)", wanted, own)
    return own


def is_offline() -> bool:
    """Whether `CCSR_OFFLINE` forbids any contact with a hub."""
    return os.environ.get("CCSR_OFFLINE", "") not in ("", "0")


def known_models() -> dict[str, Path]:
    """Models that have a name: those inside the package, then those in the folder `models` of the cache folder."""
    found: dict[str, Path] = {}
    for shelf in (Path(str(files("ccsr"))) / "models", cache_folder() / "models"):
        # A home that may not be looked into has no models; those of the package are there all the same.
        with suppress(OSError):
            for folder in sorted(shelf.iterdir()):
                if (folder / "model_index.json").is_file():
                    found.setdefault(folder.name, folder)
    return found


def find_folder(name: str) -> Path:
    """The folder of a model: a known name, a path, or a hub id `org/name` or `org/name@revision`.

    In that order; `./nano` is a folder called nano, `nano` is the embedded model.

    Raises:
        WeightsError: no such model (with the nearest known name), or the hub cannot give it.
    """
    known = known_models()
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise WeightsError(
            "this is a file, a model is a folder",
            path=name,
            hint="a checkpoint of v1 is packed first: ccsr models pack",
        )
    if not name.startswith(("/", ".", "~")) and (hub := _HUB_ID.fullmatch(name)):
        return _fetch(name, hub["id"], hub["revision"])
    close = get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}; or give a folder"
    raise WeightsError(f"no model or folder is called {name}", hint=meant)


def find_base_model(given: str) -> Path:
    """The folder of the base model: `given` is one place, or several between commas that are tried in turn.

    A place is a folder, or a hub id `org/name` or `org/name@revision`; `#HASH` after it states the SHA-256 of the
    UNet's weights. `CCSR_BASE_MODEL` holds places for when `given` is empty: the base model's first home is gone.

    Raises:
        WeightsError: no place answers, or what is there is not what the hash says.
    """
    places = [place.strip() for place in given.split(",") if place.strip()]
    reasons = []
    for place in places:
        name, _, digest = place.partition("#")
        try:
            folder = base_root(_base_folder(name))
            if digest:
                _check_digest(folder, digest)
            return folder
        except WeightsError as error:
            reasons.append(str(error))
    if len(places) == 1:
        raise WeightsError(reasons[0], hint="--base-model takes several places between commas") from None
    raise WeightsError(f"the base model is in none of {len(places)} places: {'; '.join(reasons)}")


def _base_folder(name: str) -> Path:
    """The folder of a base model by name; one that is a single file is brought into the form of a folder first."""
    path = Path(name).expanduser()
    if not path.is_file():
        return find_folder(name)
    from ccsr.weights.single_file import base_from_file

    return base_from_file(path)


def base_model_setting() -> str | None:
    """Where the base model is looked for when nothing else is said: `CCSR_BASE_MODEL`."""
    return os.environ.get("CCSR_BASE_MODEL") or None


def _check_digest(folder: Path, digest: str) -> None:
    found = file_sha256(weights_file(child(folder, "unet") or folder))
    if found != digest.lower():
        raise WeightsError(f"the UNet's SHA-256 is {found[:12]}..., asked for was {digest[:12]}...", path=folder)


def _fetch(name: str, repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cache = (cache_folder() if is_offline() else writable_cache_folder()) / "hub"

    def snapshot(wanted: list[str], at: str | None) -> Path:
        return Path(
            snapshot_download(
                repository, revision=at, cache_dir=cache, allow_patterns=wanted, local_files_only=is_offline()
            )
        )

    try:
        folder = snapshot(_HUB_FILES, revision)
        if not is_offline():
            # The same commit, since another one may have come in between.
            if not (folder / "unet").is_dir():
                # A base model in a folder of its own, as in some mirrors.
                snapshot([f"*/{name}" for name in _HUB_FILES if "/" in name], folder.name)
            for wanted in _other_weights(folder):
                snapshot(wanted, folder.name)
        return folder
    except LocalEntryNotFoundError as error:
        reason = "CCSR_OFFLINE forbids asking the hub" if is_offline() else "the hub cannot be reached"
        raise WeightsError(f"{name} is neither a folder nor in the cache, and {reason}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise WeightsError(
            f"neither a folder nor a hub model is called {name}", hint="a private one needs HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"the hub has no such revision: {name}") from error
    except Exception as error:  # the client's and its HTTP library's own kinds differ from version to version
        raise WeightsError(f"{name} could not be fetched from the hub: {first_line(error)}") from error


def _other_weights(folder: Path) -> Iterator[list[str]]:
    """What to ask for next as long as a network of a fetched folder has no weights: its other forms, one by one."""
    configs = [path.parent for path in folder.rglob("config.json")]
    places = {part: [p for p in configs if p.name == part] for part in (*NETWORKS, "text_encoder")}
    for form in range(1, max(len(SUFFIXES), len(_TEXT_WEIGHTS))):
        wanted = []
        for part, found in places.items():
            text = part == "text_encoder"
            names = _TEXT_WEIGHTS if text else tuple(WEIGHTS + suffix for suffix in SUFFIXES)
            lacking = [place for place in found if not any((place / name).is_file() for name in names)]
            if form < len(names):
                wanted += [(place / names[form]).relative_to(folder).as_posix() for place in lacking]
        if wanted:
            yield wanted

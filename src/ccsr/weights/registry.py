"""From what people type after `--model` to a folder on this machine."""

import os
import re
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from ccsr.errors import WeightsError
from ccsr.weights.files import first_line

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


def cache_folder() -> Path:
    """Where downloads are kept: `CCSR_HOME`, or the platform's user cache folder."""
    if home := os.environ.get("CCSR_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "ccsr" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ccsr"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ccsr"


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
        raise WeightsError("this is a file, a model is a folder", path=name)
    if not name.startswith(("/", ".", "~")) and (hub := _HUB_ID.fullmatch(name)):
        return _fetch(name, hub["id"], hub["revision"])
    close = get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}; or give a folder"
    raise WeightsError(f"no model or folder is called {name}", hint=meant)


def _fetch(name: str, repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cache = cache_folder() / "hub"
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                cache_dir=cache,
                allow_patterns=_HUB_FILES,
                local_files_only=is_offline(),
            )
        )
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

"""The mask of a job: one picture in the form field `mask`, kept beside those that it is laid over."""

from dataclasses import replace
from pathlib import Path

from ccsr import images
from ccsr.errors import CCSRError
from ccsr.options import UpscaleOptions
from ccsr.serve.errors import with_client_name
from ccsr.serve.settings import ServeSettings


def mask_path(folder: Path, suffix: str = "") -> Path:
    """Where the mask of the job in this folder is kept; some formats are recognised by their suffix."""
    return folder / f"mask{suffix}"


def masked(options: UpscaleOptions, folder: Path, limits: ServeSettings) -> UpscaleOptions:
    """The options of the job in this folder, with its mask if one came.

    Raises:
        ImageError: it is no picture, or too large a one.
    """
    found = next(folder.glob(f"{mask_path(folder).name}*"), None)
    if found is None:
        return options
    try:
        images.read_header(found, round(limits.max_megapixels * 1e6))
    except CCSRError as error:
        raise with_client_name(error, {}) from error
    return replace(options, mask=str(found))

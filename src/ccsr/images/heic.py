"""HEIC, the format of telephones, by pi-heif: libheif with a decoder and no encoder."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyvips

from ccsr.errors import ImageError
from ccsr.images.boxes import are_named
from ccsr.images.containers import Beside
from ccsr.images.decoders import Stored, as_image, damage, straight

_BT2020, _P3 = 9, 12
"""Primaries of colours, as ITU-T H.273 numbers them."""
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer curves for brighter screens than sRGB is meant for."""


def by_pi_heif(file: IO[bytes], path: Path) -> Stored:
    """A HEIC file, upright: it says itself how it stands, and what EXIF says of that does not count."""
    heif = _opened(file, path)
    mode, info = heif.mode.partition(";")[0], heif.info
    bits, icc = info["bit_depth"], info.get("icc_profile")
    white = (1 << bits) - 1
    colours = {} if icc else info.get("nclx_profile", {})
    further = " and ".join(name for name, found in _besides(heif) if found)

    def unpack() -> Any:
        with path.open("rb") as again:
            opened = _opened(again, path)
            with damage(path):
                pixels = np.array(opened)  # a copy: the library's own memory goes with `opened`
        if opened.size != heif.size:
            raise ImageError("cannot be read: its pixels are of another size than it says", path=path)
        deep, gray = pixels.dtype == np.uint16, pixels.ndim == 2
        meaning = ("grey16" if deep else "b-w") if gray else ("rgb16" if deep else "srgb")
        image = as_image(pixels, meaning, icc or _profile(colours))
        return straight(image, white) if mode.endswith("a") else image

    width, height = heif.size
    return Stored(
        width, height, 1 if mode in ("L", "I") else len(mode), mode[-1] in "Aa", 8 if bits == 8 else 16, unpack,
        white, beside=Beside(info.get("exif"), info.get("xmp"), further=further or None),
        notes=_unsaid(colours),
    )  # fmt: skip


def _opened(file: IO[bytes], path: Path) -> Any:
    try:
        import pi_heif  # a quarter of a second
    except ImportError as error:
        raise ImageError("HEIC pictures need pi-heif", path=path, hint="pip install pi-heif") from error
    if not are_named(file):
        # The library would end the process at such names.
        raise ImageError("cannot be read: damaged or incomplete, its items have no names", path=path)
    file.seek(0)
    with damage(path):
        heif = pi_heif.open_heif(file, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    if not len(heif):
        raise ImageError("cannot be read: there is no picture in it", path=path)
    return heif


def _besides(heif: Any) -> Iterator[tuple[str, bool]]:
    """What a file may hold beside its picture, and whether this one does."""
    others = heif.info.get("aux", {})
    gain = [name for name in others if "gainmap" in name.lower()]
    yield "further pictures", len(heif) > 1
    yield "a gain map", bool(gain)
    yield "a depth map", bool(heif.info.get("depth_images"))
    yield "masks", len(others) > len(gain)


def _profile(colours: dict[str, Any]) -> bytes | None:
    """For Display P3 told by number there is a profile, which libvips brings."""
    if colours.get("color_primaries") != _P3 or colours.get("transfer_characteristics") in _HDR:
        return None
    return bytes(pyvips.Operation.call("profile_load", "p3"))


def _unsaid(colours: dict[str, Any]) -> list[str]:
    """What a result cannot say of its colours."""
    name = _HDR.get(colours.get("transfer_characteristics", 0))
    if name is None and colours.get("color_primaries") == _BT2020:
        name = "BT.2020"
    return [f"its colours are those of HDR ({name}): the result does not say so and looks pale"] if name else []

"""The page of what is kept, by format: files with all that each format holds are made, read, written, looked into."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ccsr.images import Picture, directories, load, save

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from handmade import SRGB, dng, smooth  # noqa: E402

RESULTS = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}
COLUMNS = ("EXIF", "XMP", "IPTC", "profile", "dpi", "texts", "orientation", "16 bit", "alpha", "frames")
WORDS = {"16 bit": ["bits"], "alpha": ["transparency"], "frames": ["only the first of", "only the picture itself"]}
"""How a warning names what it does not call as the column is called."""

_EXIF = Image.Exif()
_EXIF[0x0112], _EXIF[0x010F], _EXIF[0x4746] = 6, "Maker", 4
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="me"/></x:xmpmeta>'
)
_IPTC = b"\x1c\x02\x78\x00\x0aby the sea"
_DPI = 300 / 25.4
_RGB = smooth()
_ALPHA = np.linspace(60, 255, _RGB.shape[0] * _RGB.shape[1]).reshape(_RGB.shape[:2]).astype(np.uint8)


def _own(path: Path, holds: set[str]) -> None:
    """One that `save` writes too, with an orientation all the same."""
    fine = "16 bit" in holds
    rgb = (_RGB / 255 + (0.3 / 255 if fine else 0)).astype(np.float32)
    alpha = (_ALPHA / 255).astype(np.float32) if "alpha" in holds else None
    exif = _EXIF.tobytes()
    texts = {"Comment": "by the sea"} if "texts" in holds else {}
    picture = Picture(rgb, alpha, 16 if fine else 8, exif=exif, xmp=_XMP, icc=SRGB, texts=texts)
    picture.iptc = _IPTC if "IPTC" in holds else None
    picture.density = (_DPI, _DPI) if "dpi" in holds else None
    save(picture, path)
    if path.suffix == ".tif":
        with path.open("r+b") as file:
            file.seek(directories.place_of(file, 0x0112) or 0)
            file.write(b"\6\0")


def _gif(path: Path, holds: set[str]) -> None:
    rgba = Image.fromarray(np.dstack([_RGB, np.where(_ALPHA > 90, 255, 0).astype(np.uint8)]))
    rgba.save(path, comment=b"by the sea", save_all=True, append_images=[rgba.rotate(180)])


def _pillow(path: Path, holds: set[str]) -> None:
    pixels = np.dstack([_RGB, _ALPHA]) if "alpha" in holds else _RGB
    Image.fromarray(pixels).save(path, dpi=(300, 300))


def _pgm(path: Path, holds: set[str]) -> None:
    Image.fromarray(_RGB[..., 0].astype(np.uint16) * 257 + 70).save(path)


def _heic(path: Path, holds: set[str]) -> None:
    import pillow_heif

    pixels = np.dstack([_RGB, _ALPHA]).astype(np.uint16) * 257
    height, width = _ALPHA.shape
    image = pillow_heif.from_bytes("RGBA;16", (width, height), pixels.tobytes())
    second = pillow_heif.from_bytes("RGBA;16", (width, height), pixels[::-1].tobytes())
    exif = Image.Exif()
    exif.load(_EXIF.tobytes())
    exif[282] = exif[283] = 300.0
    exif[296] = 2
    image.save(path, exif=exif.tobytes(), xmp=_XMP, icc_profile=SRGB, append_images=[second[0]], bit_depth=10)


def _raw(path: Path, holds: set[str]) -> None:
    path.write_bytes(dng(_RGB / 255, 6, _XMP))


_METADATA = {"EXIF", "XMP", "profile", "orientation"}
INPUTS: dict[str, tuple[str, Callable[[Path, set[str]], None], set[str]]] = {
    "PNG": (".png", _own, {*_METADATA, "IPTC", "dpi", "texts", "16 bit", "alpha"}),
    "JPEG": (".jpg", _own, {*_METADATA, "IPTC", "dpi", "texts"}),
    "WebP": (".webp", _own, {*_METADATA, "dpi", "alpha"}),
    "TIFF": (".tif", _own, {*_METADATA, "IPTC", "dpi", "16 bit", "alpha"}),
    "AVIF": (".avif", _own, {"EXIF", "XMP", "profile", "dpi", "16 bit", "alpha"}),
    "HEIC": (".heic", _heic, {*_METADATA, "dpi", "16 bit", "alpha", "frames"}),
    "RAW (DNG)": (".dng", _raw, {"EXIF", "XMP", "orientation", "16 bit"}),
    "GIF": (".gif", _gif, {"texts", "alpha", "frames"}),
    "BMP": (".bmp", _pillow, {"dpi"}),
    "TGA": (".tga", _pillow, {"alpha"}),
    "PNM": (".pgm", _pgm, {"16 bit"}),
}
"""Suffix, what makes the file, and what it holds."""


def _frames(path: Path) -> None:
    first = Image.fromarray(_RGB)
    kind = "MPO" if path.suffix == ".jpg" else None
    first.save(path, kind, save_all=True, append_images=[first.rotate(180)])


_ANIMATED = {".png", ".jpg", ".webp", ".tif", ".avif"}
"""Of those that `_own` makes, which may hold further frames or pictures: all."""


def _kept(result: Picture, column: str, turned: bool) -> str | None:
    """The word for what of the input is in the result as it is read again; None if it is not there."""
    exif = result.exif or b""
    found = {
        "EXIF": b"Maker" in exif,
        "XMP": b'dc:source="me"' in (result.xmp or b"") or b'who="me"' in (result.xmp or b""),
        "IPTC": result.iptc == _IPTC,
        "profile": result.icc == SRGB,
        "dpi": result.density is not None and abs(result.density[0] - _DPI) < 0.01 * _DPI,
        "texts": "by the sea" in result.texts.values(),
        "orientation": turned,
        "16 bit": result.depth == 16,
        "alpha": result.alpha is not None,
        "frames": False,
    }
    if not found[column]:
        return None
    return {"orientation": "applied", "16 bit": "10 bit" if result.format == "avif" else "kept"}.get(column, "kept")


def rows() -> dict[str, dict[str, list[str]]]:
    """By result and input: a word for each column.

    Raises:
        ValueError: something is neither kept nor named.
    """
    table: dict[str, dict[str, list[str]]] = {name: {} for name in RESULTS}
    with tempfile.TemporaryDirectory() as folder:
        for name, (suffix, make, holds) in INPUTS.items():
            path = Path(folder) / f"a{suffix}"
            make(path, holds)
            picture = load(path)
            warnings = [*picture.warnings]
            if suffix in _ANIMATED:
                holds = {*holds, "frames"}
                _frames(Path(folder) / f"frames{suffix}")
                warnings += load(Path(folder) / f"frames{suffix}").warnings
            for target, end in RESULTS.items():
                left_out = save(picture, Path(folder) / f"b{end}")
                again = load(Path(folder) / f"b{end}")
                turned = again.rgb.shape[:2] == _RGB.shape[1::-1]
                table[target][name] = [
                    _word(again, column, turned, " ".join(warnings + left_out), f"{name} to {target}")
                    if column in holds else "–" for column in COLUMNS
                ]  # fmt: skip
    return table


def _word(again: Picture, column: str, turned: bool, warnings: str, where: str) -> str:
    if word := _kept(again, column, turned):
        return word
    if any(name in warnings for name in WORDS.get(column, [column])):
        return "named"
    raise ValueError(f"{where}: {column} is lost without a word")


def page() -> str:
    """`kept.md`."""
    lines = [
        "# Formats: what is kept, and what is read",
        "",
        "Made by `docs/kept.py`: for each pair a file with all that the input's format can hold is written, read,",
        "written as the result's format and read again.",
        "",
        "- **kept**: it is in the result. EXIF goes byte for byte, but for orientation, sizes, density and thumbnail.",
        "- **applied**: the result stands upright and says so.",
        "- **named**: the result's format has no place for it; one warning and `--json` name what was left out.",
        "- **10 bit**: AVIF holds no more; from formats with 16 bits the warning says so.",
        "- **–**: the input's format does not hold it, or hides it where this program does not look.",
        "",
        "*Frames* are all pages, frames, views and gain maps beside the first picture. *Texts* are those of PNG and",
        "the comments of JPEG and GIF; of a PNG's texts a JPEG keeps the comment, and the others are named. A result",
        "has the input's format where that is written, else PNG, unless you ask for another one.",
    ]
    for target, inputs in rows().items():
        lines += ["", f"## Results as {target}", "", f"| input | {' | '.join(COLUMNS)} |", "|---" * 11 + "|"]
        lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in inputs.items()]
    return "\n".join([*lines, "", NOTES])


NOTES = """## What is read

PNG, JPEG, HEIC, WebP, TIFF, AVIF, GIF, BMP, TGA and PNM, told by their content whatever their names.

- **HEIC** by pi-heif, which comes along on x86-64 and ARM machines: libheif and libde265 (LGPL), a decoder and no
  encoder. Pictures of 10 and 12 bits keep them. Results are PNG, or what you ask for.
- **Cameras' RAW files** by LibRaw: `pip install "ccsr[raw]"`. They are developed plainly, and a warning says so: the
  camera's white balance, brightness as exposed, sRGB, 16 bits, full size, upright. Who wants more of a RAW file
  develops it elsewhere and enlarges the TIFF.
- **TIFF** by libvips where that reads it right, else by Pillow or tifffile. Some rare kinds need `pip install
  imagecodecs`; the error line says so.

## What else is named, or left behind

Named in a warning: extended XMP of JPEG, content credentials (C2PA), colours of PNG that only `gAMA` or `cICP` tell,
HDR colours of HEIC, tags of TIFF that neither describe the photo nor its storage (Photoshop's layers, places on a map).

Left behind without a word: thumbnails, Photoshop's own settings beside IPTC, modification times of PNG.
"""

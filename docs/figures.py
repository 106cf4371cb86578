"""Make the pictures of the documentation with nano: `python docs/figures.py`."""

import sys
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

from ccsr import CCSRPipeline
from ccsr.data.pairs import enlarge
from ccsr.degradation import BicubicDegradation, RealESRGANDegradation

HERE = Path(__file__).parent
IMAGES = HERE / "images"


def before_after() -> Image.Image:
    """The demo's bicubic and restored pictures side by side."""
    sys.path.insert(0, str(HERE.parent / "examples"))
    import demo

    out = HERE.parent / "demo"
    demo.main(out)
    return demo.compare(
        [(name, Image.open(out / f"{file}.png")) for name, file in (("bicubic", "bicubic"), ("ccsr nano", "sr"))]
    )


def tiles() -> Image.Image:
    """Mean difference by column between tiled and untiled results of one 1024x1024 picture, two ways of normalising."""
    photo = Image.fromarray(skimage.data.coffee()).resize((384, 256)).crop((64, 0, 320, 256))
    pipe = CCSRPipeline.from_pretrained("nano")
    pipe.set_progress_bar_config(disable=True)

    def run(**options: object) -> np.ndarray:
        return pipe(photo, output_type="np", **options).images[0] * 255

    # Under v2 the tiles are normalised each by itself; the other values of v2 are the same in both of its runs.
    lines = {
        "tiles of 512, statistics of the whole picture": run(tile=512, vae_tile=512)
        - run(tile="none", vae_tile="none"),
        "tiles of 512, each by itself (--compat v2)": run(compat="v2", tile=512, vae_tile=512, color_fix="none")
        - run(compat="v2", tile="none", vae_tile="none", color_fix="none"),
    }
    sheet = Image.new("RGB", (1064, 420), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, (label, difference) in enumerate(lines.items()):
        columns = difference.mean((0, 2))
        middle = 110 + row * 200
        draw.text((30, middle - 100), f"{label}: {_decibel(difference):.1f} dB", fill="black", font=font)
        for level in (-1, 0, 1):
            y = middle - level * 60
            draw.line((30, y, 1054, y), fill="#cccccc")
            draw.text((4, y - 8), f"{level:+d}" if level else "0", fill="#666666", font=font)
        points = [(30 + x, middle - float(v) * 60) for x, v in enumerate(columns)]
        draw.line(points, fill="#1f5fa8", width=2)
    return sheet


def degradations() -> Image.Image:
    """Crops, their bicubic low-quality version and five random ones, all enlarged by the bicubic filter."""
    side, bar = 144, 24
    places = [(skimage.data.chelsea(), 70, 150), (skimage.data.coffee(), 60, 90), (skimage.data.coffee(), 220, 380)]
    labels = ["original", "bicubic", *(f"seed {seed}" for seed in range(5))]
    sheet = Image.new("RGB", (len(labels) * (side + 4) - 4, bar + len(places) * (side + 4) - 4), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, label in enumerate(labels):
        draw.text((column * (side + 4) + 4, 3), label, fill="black", font=font)
    for row, (photo, y, x) in enumerate(places):
        gt = torch.from_numpy(photo[y : y + side, x : x + side].copy()).permute(2, 0, 1) / 255
        rngs = [np.random.default_rng(100 * row + seed) for seed in range(5)]
        lqs = [BicubicDegradation()(gt), *RealESRGANDegradation()(gt.expand(5, -1, -1, -1), rngs)]
        panels = [gt, *(enlarge(lq[None], (side, side))[0] for lq in lqs)]
        for column, panel in enumerate(panels):
            pixels = (panel * 255).round().byte().permute(1, 2, 0).numpy()
            sheet.paste(Image.fromarray(pixels), (column * (side + 4), bar + row * (side + 4)))
    return sheet


def _decibel(difference: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / (difference**2).mean()))


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    before_after().save(IMAGES / "before-after.png", optimize=True)
    tiles().save(IMAGES / "tiles.png", optimize=True)
    degradations().save(IMAGES / "degradations.png", optimize=True)

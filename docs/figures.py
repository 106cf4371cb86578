"""Make the pictures of the documentation with nano: `python docs/figures.py`."""

import sys
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

from ccsr.data.pairs import enlarge
from ccsr.degradation import BicubicDegradation, RealESRGANDegradation

HERE = Path(__file__).parent
IMAGES = HERE / "images"


def before_after() -> Image.Image:
    """The demo's bicubic and restored pictures side by side."""
    sys.path.insert(0, str(HERE.parent / "examples"))
    import demo

    _, bicubic, ours, _ = demo.main(HERE.parent / "demo")
    return demo.compare([bicubic, ours])


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


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    before_after().save(IMAGES / "before-after.png", optimize=True)
    degradations().save(IMAGES / "degradations.png", optimize=True)

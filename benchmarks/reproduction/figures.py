"""The page's pictures, of photographs that anyone may use: the cup of coffee and the cat of scikit-image, both CC0."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

from ccsr import images
from ccsr.data.levels import LEVELS
from ccsr.data.pairs import generator_of
from reproduction.measure import FIG2_STEPS, Upscaler, enlarged
from reproduction.networks import RECIPES, Shelf
from reproduction.pictures import SEED, STAND_IN

SIDE, BAR = 224, 22
NUTS = {"T": 6, "t_max": "2/3", "t_min": "1/2"}


def draw_figures(shelf: Shelf, results: Path, threads: int) -> None:
    """Fig. 4's panel of the three systems, and Fig. 2's of three qualities; what lacks its networks is left alone."""
    found = {name: shelf.find(name) for name in RECIPES}
    networks = {name: network for name, network in found.items() if network is not None}
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        systems = {
            "V1, seed 0": ("v1", {"sampling": "uniform", "steps": 2}, 0, 0),
            "V1, seed 1": ("v1", {"sampling": "uniform", "steps": 2}, 1, 0),
            "V2, seed 0": ("v2", NUTS, 0, 0),
            "V2, seed 1": ("v2", NUTS, 1, 0),
            "full, seed 0": ("full", NUTS, 0, 0),
            "full, seed 1": ("full", NUTS, 1, 0),
        }
        if {"v1", "v2", "full"} <= set(networks):
            truth = _crop(skimage.data.chelsea(), 40, 110)
            lows = {"": _low(truth, STAND_IN, here)}
            _sheet(truth, lows, systems, networks, threads).save(results / "fig4.webp", quality=88, method=6)
        middle = FIG2_STEPS // 2
        systems = {
            f"V1, step {middle}": ("v1", {"sampling": "uniform", "steps": FIG2_STEPS}, 0, middle),
            f"V1, step {FIG2_STEPS}": ("v1", {"sampling": "uniform", "steps": FIG2_STEPS}, 0, FIG2_STEPS),
            "L1": ("l1", {"steps": 1}, 0, 0),
            "L1 + GAN": ("l1-gan", {"steps": 1}, 0, 0),
        }
        if {"v1", "l1", "l1-gan"} <= set(networks):
            truth = _crop(skimage.data.coffee(), 60, 100)
            lows = {level: _low(truth, level, here) for level in ("light", "medium", "heavy")}
            _sheet(truth, lows, systems, networks, threads).save(results / "fig2.webp", quality=88, method=6)


def _crop(photo: np.ndarray, y: int, x: int) -> np.ndarray:
    return photo[y : y + SIDE, x : x + SIDE, :3]


def _low(truth: np.ndarray, level: str, folder: Path) -> Path:
    good = torch.from_numpy(truth.copy()).permute(2, 0, 1).float() / 255
    low = LEVELS[level].draw(good, generator_of(SEED, len(level))).permute(1, 2, 0).numpy()
    path = folder / f"{level}.png"
    images.save(images.Picture(np.ascontiguousarray(low)), path)
    return path


def _sheet(
    truth: np.ndarray, lows: dict[str, Path], systems: dict[str, tuple], networks: dict, threads: int
) -> Image.Image:
    rows: list[Sequence[np.ndarray]] = []
    for low in lows.values():
        made: dict[tuple[str, int], list[np.ndarray]] = {}
        for network, options, sample, step in systems.values():
            if (network, sample) not in made:
                upscaler = Upscaler(networks[network], {**options, "intermediates": step > 0}, threads)
                made[network, sample] = upscaler(low, sample)
        rows.append([enlarged(low), *(made[n, sample][step] for n, _, sample, step in systems.values()), truth / 255])
    labels = ["input", *systems, "original"]
    sheet = Image.new("RGB", (len(labels) * (SIDE + 4) - 4, BAR + len(rows) * (SIDE + 4) - 4), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, label in enumerate(labels):
        draw.text((column * (SIDE + 4) + 4, 2), label, fill="black", font=font)
    for y, (level, row) in enumerate(zip(lows, rows, strict=True)):
        for x, picture in enumerate(row):
            at = (x * (SIDE + 4), BAR + y * (SIDE + 4))
            sheet.paste(Image.fromarray(images.to_uint8(picture.astype(np.float32))), at)
        if level:
            draw.text(
                (5, BAR + y * (SIDE + 4) + 3), level, fill="white", font=font, stroke_width=2, stroke_fill="black"
            )
    return sheet

"""A model at every level of damage, beside plain enlargement and small networks: the table of nano's card.

python benchmarks/levels.py PICTURES [--model nano] [--peer FILE.param ...] [--count 12] [--crop 512]
    [--levels clean_x4,light_x4,...] [--threads N] [--json FILE]

PICTURES is a folder of good photographs, the first `--count` of which are degraded as `ccsr.data.levels` says, each
always in the same way. Peers are ncnn networks of a factor of 4; at other scales their result is reduced to the size,
which is how people use them. Scores are means over pictures: PSNR of Y, PSNR of CbCr, SqueezeNet distance, and for
pictures of 64 pixels and more the lattice.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import machine
from PIL import Image

_LEVELS = "clean_x4,light_x4,medium_x4,heavy_x4,noisy_x4,clean_x2,light_x2,clean_x1"
Enlarge = Callable[[np.ndarray, int, int], np.ndarray]
"""(lq uint8 (h, w, 3), width, height) to sr uint8 (height, width, 3)."""


def _resize(filter_: Image.Resampling) -> Enlarge:
    return lambda lq, width, height: np.asarray(Image.fromarray(lq).resize((width, height), filter_))


def _ours(model: str, threads: int) -> Enlarge:
    from ccsr import CCSRPipeline

    pipe = CCSRPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    return lambda lq, width, height: np.asarray(
        pipe(lq, width=width, threads=threads, device="cpu", output_type="pil").images[0].resize((width, height))
    )


def _peer(param: Path, threads: int) -> Enlarge:
    from ccsr.compare.worker_program import ncnn_net

    net, _ = ncnn_net({"param": str(param), "weights": str(param.with_suffix(".bin")), "threads": threads})

    def enlarge(lq: np.ndarray, width: int, height: int) -> np.ndarray:
        made = np.asarray(net(lq, 4 * lq.shape[1], 4 * lq.shape[0]))
        picture = Image.fromarray(made.clip(0, 255).round().astype(np.uint8))
        return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))

    return enlarge


def _scores(sr: np.ndarray, gt: np.ndarray) -> dict[str, float]:
    from ccsr import metrics

    found = {"psnr": metrics.psnr(sr, gt), "cbcr": metrics.psnr_color(sr, gt)}
    found["distance"] = metrics.squeezenet_distance(sr, gt)
    return found | ({"lattice": metrics.lattice(sr)} if min(gt.shape[:2]) >= 64 else {})


def measure(methods: dict[str, Enlarge], folder: Path, levels: list[str], count: int, crop: int) -> dict[str, Any]:
    """Means by level and method."""
    from ccsr.data.levels import level_of
    from ccsr.data.pairs import DataConfig, fixed_pairs
    from ccsr.data.sources import Pictures, SourceConfig

    pictures = Pictures.open((SourceConfig(folder=str(folder)),))
    table: dict[str, Any] = {}
    for name in levels:
        damage, factor = level_of(name)
        sums: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
        for pair in fixed_pairs(pictures, DataConfig(degradation=replace(damage, factor=factor)), count, crop):
            lq, gt = ((x[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for x in (pair.lq, pair.gt))
            for method, enlarge in methods.items():
                sums[method].append(_scores(enlarge(lq, gt.shape[1], gt.shape[0]), gt))
        table[name] = {m: {k: float(np.mean([r[k] for r in rows])) for k in rows[0]} for m, rows in sums.items()}
        print(name, json.dumps({m: {k: round(v, 3) for k, v in s.items()} for m, s in table[name].items()}), flush=True)
    return table


def markdown(table: dict[str, Any]) -> str:
    """One line for each level, PSNR / PSNR of CbCr / distance / lattice of each method."""
    methods = list(next(iter(table.values())))
    lines = ["| level | " + " | ".join(methods) + " |", "|" + "---|" * (len(methods) + 1)]
    for level, rows in table.items():
        cells = [
            f"{s['psnr']:.2f} / {s['cbcr']:.1f} / {s['distance']:.3f}"
            + (f" / {s['lattice']:.1f}" if "lattice" in s else "")
            for s in rows.values()
        ]
        lines.append(f"| {level} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--model", action="append", help="name or folder; may be given again (default: nano)")
    parser.add_argument("--peer", type=Path, action="append", default=[])
    parser.add_argument("--levels", default=_LEVELS)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    methods: dict[str, Enlarge] = {
        "bicubic": _resize(Image.Resampling.BICUBIC), "Lanczos": _resize(Image.Resampling.LANCZOS),
    }  # fmt: skip
    methods |= {model: _ours(model, chosen.threads) for model in chosen.model or ["nano"]}
    methods |= {param.stem: _peer(param, chosen.threads) for param in chosen.peer}
    table = measure(methods, chosen.pictures, chosen.levels.split(","), chosen.count, chosen.crop)
    print(markdown(table))
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": machine(), "levels": table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

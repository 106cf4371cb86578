"""What `--consistency` costs and gives at three levels of damage: the table of docs/consistency.md.

python benchmarks/consistency.py PICTURES [--model nano] [--count 6] [--crop 512] [--levels clean_x4,light_x4,medium_x4]

PICTURES is a folder of good photographs, the first `--count` of which are degraded as `ccsr.data.levels` says, each
always in the same way. Bicubic enlargement and the model's result stand beside the result bound to its input before
and after the colour fix. Scores are means over pictures, but for the largest difference, which is that of all.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure and print."""
    from ccsr import CCSRPipeline, metrics
    from ccsr.data.levels import level_of
    from ccsr.data.pairs import DataConfig, fixed_pairs
    from ccsr.data.sources import Pictures, SourceConfig
    from ccsr.images.resample import enlarge
    from ccsr.method.backprojection import back_projected
    from ccsr.method.color import FIXES
    from ccsr.method.processing import as_picture, as_tensor

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--levels", default="clean_x4,light_x4,medium_x4")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--crop", type=int, default=512)
    chosen = parser.parse_args()
    pipe = CCSRPipeline.from_pretrained(chosen.model)
    pipe.set_progress_bar_config(disable=True)
    pictures = Pictures.open((SourceConfig(folder=str(chosen.pictures)),))
    print("| level | result | PSNR | SqueezeNet distance | noise in flat areas | consistency | largest | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name in chosen.levels.split(","):
        damage, factor = level_of(name)
        scores: dict[str, list[tuple[float, ...]]] = {}
        for pair in fixed_pairs(
            pictures, DataConfig(degradation=replace(damage, factor=factor)), chosen.count, chosen.crop
        ):
            lq, gt = (np.ascontiguousarray(x[0].permute(1, 2, 0).numpy()) for x in (pair.lq, pair.gt))
            height, width = gt.shape[:2]
            style = enlarge(lq, width, height)

            def fixed(sr: np.ndarray, style: np.ndarray = style) -> np.ndarray:
                fix = FIXES[pipe.description.color_fix]
                return as_picture(fix(as_tensor(sr), as_tensor(style)).clamp(0, 1))

            raw = pipe(lq, width=width, color_fix="none", threads=1, output_type="np").images[0]
            variants = {
                "bicubic": lambda style=style: style,
                "0": lambda raw=raw, fixed=fixed: fixed(raw),
                "0.5": lambda raw=raw, fixed=fixed, lq=lq: back_projected(fixed(raw), lq, 0.5),
                "1": lambda raw=raw, fixed=fixed, lq=lq: back_projected(fixed(raw), lq, 1),
                "1, before the colours": lambda raw=raw, fixed=fixed, lq=lq: fixed(back_projected(raw, lq, 1)),
            }
            for variant, make in variants.items():
                begin = time.process_time()
                sr = make()
                seconds = time.process_time() - begin
                true = metrics.consistency_of(sr, lq)
                scores.setdefault(variant, []).append(
                    (
                        metrics.psnr(sr, gt), metrics.squeezenet_distance(sr, gt), metrics.flat_noise(sr, gt),
                        true.psnr, true.largest, seconds,
                    )
                )  # fmt: skip
        for variant, rows in scores.items():
            psnr, distance, noise, true_psnr, _, seconds = np.mean(rows, axis=0)
            largest = max(row[4] for row in rows)
            print(
                f"| {name} | {variant} | {psnr:.2f} | {distance:.3f} | {noise:.2f} | {true_psnr:.1f} | {largest:.0f} |"
                f" {seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

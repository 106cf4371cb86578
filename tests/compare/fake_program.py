"""Stands in for a program that is not here: takes its options, writes bicubic results in its layout.

python fake_program.py LAYOUT SECONDS [the program's own options]
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

layout, seconds, options = sys.argv[1].replace("<", "{").replace(">", "}"), float(sys.argv[2]), sys.argv[3:]


def after(*names: str, default: str = "") -> str:
    found = [options[i + 1] for i, word in enumerate(options[:-1]) if word in names]
    return found[0] if found else default


INPUT = (
    "--init-img",
    "--input",
    "--image_path",
    "--img_dir",
    "--input_image",
    "--LR_dir",
    "--lq_dir",
    "--video_path",
    "-i",
)
inputs = Path(after(*INPUT))
out = Path(after("--outdir", "--output", "--output_dir", "--save_dir", "--SR_dir", "-o"))
seed = int(after("--seed", default="0"))
runs = int(after("--sample_times", "--repeat_times", default="1"))
assert inputs.is_dir()
assert out.is_dir()
for path in sorted(inputs.glob("*.png")):
    for run in range(runs):
        time.sleep(seconds)
        lq = Image.open(path)
        sr = np.asarray(lq.resize((4 * lq.width, 4 * lq.height), Image.Resampling.BICUBIC), np.int16)
        noise = np.random.default_rng(seed + 1000 * run).integers(-3, 4, sr.shape)
        target = out / layout.format(name=path.stem, run=run)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(sr + noise, 0, 255).astype(np.uint8)).save(target)
(out / "txt").mkdir(exist_ok=True)
(out / "txt" / "prompt.txt").write_text("a photograph")

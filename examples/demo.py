"""The main job on a real photograph: degrade it, upscale it four times with nano, set the results side by side.

python examples/demo.py OUT
"""

import sys
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

from ccsr import CCSRPipeline, metrics
from ccsr.degradation import LightDegradation

SCALE = 4


EXPECT = """\
Look at comparison.png at its own size. Expect sharp outlines in place of blur, and less noise. Do not expect what 128
pixels have lost, such as the letters of the patch or single hairs: nano invents little, and may draw teeth or eyes
wrong where a face is this small."""


def main(out: Path) -> list[tuple[str, Image.Image]]:
    """Write lq, bicubic, sr and a comparison of labelled panels to `out`, print sizes, time and scores; the panels."""
    out.mkdir(parents=True, exist_ok=True)
    photo = skimage.data.astronaut()  # Eileen Collins, by NASA, public domain
    height, width = (side // (2 * SCALE) * 2 * SCALE for side in photo.shape[:2])
    gt = photo[:height, :width]
    # Made small, with a little noise: what people mostly enlarge. RealESRGANDegradation would spoil it far more.
    degraded = LightDegradation(SCALE)(torch.from_numpy(gt.copy()).permute(2, 0, 1) / 255, np.random.default_rng(6))
    lq = Image.fromarray((degraded.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    bicubic = lq.resize((width, height), Image.Resampling.BICUBIC)

    started = time.perf_counter()
    pipe = CCSRPipeline.from_pretrained("nano")
    pipe.set_progress_bar_config(disable=True)
    loaded = time.perf_counter()
    sr = pipe(lq, scale=SCALE).images[0]
    finished = time.perf_counter()

    for name, picture in (("lq", lq), ("bicubic", bicubic), ("sr", sr), ("gt", Image.fromarray(gt))):
        picture.save(out / f"{name}.png")
    psnr, distance = (
        {name: score(np.asarray(picture), gt) for name, picture in (("bicubic", bicubic), ("ccsr nano", sr))}
        for score in (metrics.psnr_rgb, metrics.squeezenet_distance)
    )
    panels = [
        ("input, its pixels enlarged", lq.resize((width, height), Image.Resampling.NEAREST)),
        (f"bicubic, {psnr['bicubic']:.1f} dB", bicubic),
        (f"ccsr nano, {psnr['ccsr nano']:.1f} dB", sr),
        ("original", Image.fromarray(gt)),
    ]
    compare(panels).save(out / "comparison.png")
    print(f"input {lq.width}x{lq.height}, output {sr.width}x{sr.height}")
    print(f"time {finished - loaded:.2f} s, and {loaded - started:.2f} s to load the model")
    for name in psnr:
        print(f"{name:9} PSNR {psnr[name]:.2f} dB (higher is better), SqueezeNet distance {distance[name]:.3f} (lower)")
    print(f"pictures in {out}/: lq.png bicubic.png sr.png gt.png comparison.png")
    print(EXPECT)
    return panels


def compare(panels: list[tuple[str, Image.Image]]) -> Image.Image:
    """Panels side by side, two in a row, each under its label."""
    width, height = panels[0][1].size
    bar = 28
    rows = -(-len(panels) // 2)
    sheet = Image.new("RGB", (2 * width + 4, rows * (height + bar)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for i, (label, picture) in enumerate(panels):
        x, y = i % 2 * (width + 4), i // 2 * (height + bar)
        draw.text((x + 6, y + 3), label, fill="black", font=font)
        sheet.paste(picture, (x, y + bar))
    return sheet


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))

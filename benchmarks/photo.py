"""A photograph at x2 beside realesr-general-x4v3 in ncnn, whose users enlarge it by 4 in tiles and reduce that by half.

python benchmarks/photo.py [--size 1024 768] [--peer FOLDER] [--threads N] [--cpu-seconds] [--json FILE]

Both go from file to file in this process. Of a photograph of 24 megapixels (6000x4000) a part is representative: both
work in tiles, and so in time that grows with the pixels.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import clock, row, write
from large import make_photo
from nano import NAME, PEER
from PIL import Image

from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan, resolve_machine

TILE, MARGIN = 200, 10
"""Of realesrgan-ncnn-vulkan, where a graphics card has two gigabytes; its margin."""


def by_peer(peer: Path, threads: int, source: Path, to: Path) -> None:
    """In tiles, reduced to twice the size by the Lanczos filter."""
    from ccsr.compare.worker_program import ncnn_net

    net, _ = ncnn_net({"param": str(peer / f"{NAME}.param"), "weights": str(peer / f"{NAME}.bin"), "threads": threads})
    picture = np.asarray(Image.open(source).convert("RGB"))
    height, width = picture.shape[:2]
    wide = np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
    out = np.empty((4 * height, 4 * width, 3), np.uint8)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = wide[top : top + TILE + 2 * MARGIN, left : left + TILE + 2 * MARGIN]
            core = net(tile, 4 * tile.shape[1], 4 * tile.shape[0])[4 * MARGIN : -4 * MARGIN, 4 * MARGIN : -4 * MARGIN]
            place = out[4 * top : 4 * top + len(core), 4 * left : 4 * left + core.shape[1]]
            place[:] = np.clip(np.round(core), 0, 255)
    Image.fromarray(out).resize((2 * width, 2 * height), Image.Resampling.LANCZOS).save(to)


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=[1024, 768])
    parser.add_argument("--peer", type=Path, default=PEER)
    parser.add_argument("--threads", type=int, default=resolve_machine(UpscaleOptions())[2])
    parser.add_argument("--cpu-seconds", action="store_true", help="with one thread, on a machine that does other work")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    what, wanted = f"a photograph x2, a part of {chosen.size[0]}x{chosen.size[1]}, nano by {NAME} in ncnn", "<= 0.5"
    if not (chosen.peer / f"{NAME}.param").is_file():
        write([row("3b", what, None, "x", wanted, None, f"{NAME}.param is not at hand")], chosen.json)
        return
    from ccsr.jobs import runner
    from ccsr.pipeline import Upscaler

    now = clock(chosen.cpu_seconds)
    options = UpscaleOptions(scale=2, threads=chosen.threads)
    upscaler, seconds = Upscaler.load("nano"), {}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "photo.png")
        make_photo(source, max(chosen.size))
        Image.open(source).crop((0, 0, *chosen.size)).save(source)
        ways = {
            "peer": lambda: by_peer(chosen.peer, chosen.threads, source, Path(name, "peer.png")),
            "nano": lambda: runner.run(
                runner.Job([source], upscaler.description, f"{name}/nano.png"), lambda: upscaler, options
            ),
        }
        for way, run in ways.items():
            begin = now()
            run()
            seconds[way] = now() - begin
    plan = make_plan(*chosen.size, options, upscaler.description)
    ratio = seconds["nano"] / seconds["peer"]
    note = f"{seconds['nano']:.1f} by {seconds['peer']:.1f} s; nano computes {plan.work_width}x{plan.work_height}"
    write([row("3b", what, ratio, "x", wanted, ratio <= 0.5, note)], chosen.json)


if __name__ == "__main__":
    main()

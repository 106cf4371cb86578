"""Systems side by side at every level of damage: tables of docs/comparison.md and of nano's card.

python benchmarks/levels.py PICTURES [--config examples/compare-realsr.yaml] [--model FOLDER ...] [--count 12]
    [--crop 256] [--levels clean_x4,light_x4,...] [--output comparison/levels] [--into PAGE.md] [--json FILE]

PICTURES is a folder of good photographs, the first `--count` of which are degraded as `ccsr.data.levels` says, each
always in the same way. The systems are those of a configuration of `ccsr compare` that can run on any picture: plain
enlargement, networks, and of this package's models the first row; `--model` adds further ones. Each level is a
comparison of its own below `--output`, so that the same command again makes only what changed. `--into` puts the
tables between the marks of a page, `<!-- levels: begin -->` and `<!-- levels: end -->`.
"""

import argparse
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import machine
from PIL import Image

from ccsr.compare.config import ComparisonConfig, load_config
from ccsr.compare.formats import insert_into
from ccsr.compare.methods import Method
from ccsr.compare.methods.ncnn import Ncnn
from ccsr.compare.methods.ours import Ours
from ccsr.compare.methods.resize import Bicubic
from ccsr.compare.methods.spandrel import Spandrel
from ccsr.compare.run import compare
from ccsr.metrics import METRICS

LEVELS = "clean_x4,light_x4,medium_x4,heavy_x4,noisy_x4,clean_x2,light_x2,clean_x1"
MEASURES = ("psnr", "psnr_color", "squeezenet", "consistency", "lattice")
Means = dict[str, dict[str, dict[str, float | None]]]
"""By level, method and metric."""


def systems(config: ComparisonConfig, models: Sequence[str]) -> list[Method]:
    """The methods of a configuration that run on any picture, the first of this package's models alone."""
    ours = [method for method in config.methods if isinstance(method, Ours)][:1]
    further = [Ours(name=model, model=model) for model in models]
    others = [method for method in config.methods if isinstance(method, Bicubic | Ncnn | Spandrel)]
    return [replace(method, paper=None) for method in (*ours, *further, *others)]


def measure(
    methods: Sequence[Method], folder: Path, levels: Sequence[str], count: int, crop: int, threads: int, output: Path
) -> Means:
    """Means over pictures; a method that fails is told and has none."""
    means: Means = {}
    for name in levels:
        home = output / name
        factor = _write_pairs(name, folder, count, crop, home)
        scaled = [_at(method, factor) for method in methods]
        config = ComparisonConfig(
            lq=home / "lq", gt=home / "gt", preset="osediff", metrics=list(MEASURES), threads=threads, methods=scaled
        )
        means[name] = {}
        for row in compare(config, home).rows:
            if row.problem:
                print(f"{name}, {row.method.name}: {row.problem}", flush=True)
            figures = {m.name: row.scores.figure(m, row.names) if row.scores else None for m in config.chosen}
            means[name][row.method.name] = {m: figure.mean if figure else None for m, figure in figures.items()}
        print(name, json.dumps(means[name]), flush=True)
    return means


def _at(method: Method, factor: int) -> Method:
    """A method at another factor; networks of a fixed one are reduced to the size anyhow."""
    return replace(method, options={**method.options, "scale": factor}) if isinstance(method, Ours) else method


def _write_pairs(level: str, folder: Path, count: int, crop: int, home: Path) -> int:
    """Pictures of a level as lq/ and gt/ in `home`, each written only if it is another one; the level's factor."""
    from ccsr.data.levels import level_of
    from ccsr.data.pairs import DataConfig, fixed_pairs
    from ccsr.data.sources import Pictures, SourceConfig

    damage, factor = level_of(level)
    pictures = Pictures.open((SourceConfig(folder=str(folder)),))
    pairs = fixed_pairs(pictures, DataConfig(degradation=replace(damage, factor=factor)), count, crop)
    wanted = {
        home / kind / f"{i:03d}.png": getattr(pair, kind) for i, pair in enumerate(pairs) for kind in ("lq", "gt")
    }
    for path, picture in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        values = (picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(values).save(file, "png")
        # Its date says whether results are still those of this picture.
        if not path.exists() or path.read_bytes() != file.getvalue():
            path.write_bytes(file.getvalue())
    for path in {*home.glob("lq/*"), *home.glob("gt/*")} - set(wanted):
        path.unlink()
    return factor


def markdown(means: Means) -> str:
    """One table for each measure, methods by levels; the best of a level in bold, the second best in italics."""
    levels = list(means)
    out = []
    for measure_ in MEASURES:
        metric = METRICS[measure_]
        out += [f"**{metric.title}** ({metric.direction} is better)", ""]
        out += ["| | " + " | ".join(name.replace("_", " ") for name in levels) + " |", "|---|" + "--:|" * len(levels)]
        for method in means[levels[0]]:
            cells = []
            for level in levels:
                shown = {name: _rounded(rows[measure_], measure_) for name, rows in means[level].items()}
                cells.append(_cell(shown, method, metric.direction == "higher"))
            out.append(f"| {method} | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out).rstrip() + "\n"


_DIGITS = {"squeezenet": 3, "lattice": 1, "psnr_color": 1, "consistency": 1}


def _rounded(value: float | None, measure_: str) -> str | None:
    return None if value is None else f"{value:.{_DIGITS.get(measure_, 2)}f}"


def _cell(shown: dict[str, str | None], method: str, higher: bool) -> str:
    text = shown[method]
    if text is None:
        return "not available"
    best = sorted({float(value) for value in shown.values() if value is not None}, reverse=higher)[:2]
    return {1: f"**{text}**", 2: f"*{text}*"}.get(best.index(float(text)) + 1 if float(text) in best else 0, text)


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--config", type=Path, default=Path("examples/compare-realsr.yaml"))
    parser.add_argument("--model", action="append", default=[], help="name or folder; may be given again")
    parser.add_argument("--levels", default=LEVELS)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("comparison/levels"))
    parser.add_argument("--into", type=Path, help="put the tables into this Markdown file, between its marks")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(words)
    methods = systems(load_config(chosen.config), chosen.model)
    levels = chosen.levels.split(",")
    means = measure(methods, chosen.pictures, levels, chosen.count, chosen.crop, chosen.threads, chosen.output)
    text = markdown(means)
    print(text)
    if chosen.into:
        insert_into(chosen.into, text, "levels")
    if chosen.json:
        facts: dict[str, Any] = {"machine": machine(), "levels": means}
        chosen.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

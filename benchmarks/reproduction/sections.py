"""What is measured, section by section."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduction.figures import draw_figures
from reproduction.measure import FIG2_STEPS, Clock, System, begun, measure, measure_steps, request_of
from reproduction.networks import COMMON, Network, Shelf
from reproduction.pictures import ON_LEVELS, STAND_IN, PictureSet, degraded, realsr

UNIFORM = {"sampling": "uniform", "steps": 2}


def _nuts(T: int, t_max: str, t_min: str) -> dict[str, Any]:
    return {"T": T, "t_max": t_max, "t_min": t_min}


S2 = _nuts(6, "2/3", "1/2")
TABLE1 = (
    System("bicubic", "bicubic enlargement", None),
    System("codec", "codec alone", COMMON, None),
    System("base", "base, before all of them", "base", UNIFORM),
    System("v1", "V1: no NUTS, no DeFT", "v1", UNIFORM),
    System("v2", "V2: no DeFT", "v2", S2),
    System("twin", "V2 again, other pictures and noise", "twin", S2),
    System("full", "full", "full", S2),
    System("l1", "L1, without diffusion", "l1", {"steps": 1}),
    System("l1-gan", "L1 + GAN, without diffusion", "l1-gan", {"steps": 1}),
)
FULL = next(system for system in TABLE1 if system.name == "full")
TABLE2 = (
    System("full-T18", "T=18", "full", _nuts(18, "2/3", "1/2")),
    System("full-T12", "T=12", "full", _nuts(12, "2/3", "1/2")),
    FULL,
)
TABLE3 = (
    System("full-2_3-1_3", "2/3, 1/3", "full", _nuts(6, "2/3", "1/3")),
    System("full-5_6-1_2", "5/6, 1/2", "full", _nuts(6, "5/6", "1/2")),
    System("full-5_6-2_3", "5/6, 2/3", "full", _nuts(6, "5/6", "2/3")),
    System("full-1_2-1_6", "1/2, 1/6", "full", _nuts(6, "1/2", "1/6")),
    FULL,
)
S1 = System("full-S1", "full, one step", "full", {"steps": 1})
TABLE5 = (FULL, S1)
LEVELS = (*TABLE1, S1)
FIG2 = {
    "v1": ("v1", {"sampling": "uniform", "steps": FIG2_STEPS}),
    "l1": ("l1", {"steps": 1}),
    "l1-gan": ("l1-gan", {"steps": 1}),
}
FIG2_LEVELS = ("light", "medium", "heavy")
FIG2_MIDDLE = STAND_IN
"""The level whose every step is looked at: the paper's is DIV2K's."""


@dataclass(frozen=True)
class Bench:
    """Where everything lies and how much is measured."""

    shelf: Shelf
    data: Path
    work: Path
    results: Path
    images: int
    runs: int
    stable_images: int
    stable_runs: int
    level_images: int
    threads: int

    def realsr(self) -> PictureSet:
        """RealSR, some of it with more runs."""
        return realsr(self.data, self.images, self.runs, self.stable_images, self.stable_runs)

    def level(self, level: str) -> PictureSet:
        """cid22_validation at one of the levels of damage."""
        return degraded(self.data, self.work, level, self.level_images, self.runs)


@dataclass(frozen=True)
class Job:
    """One system on one set."""

    system: System
    network: Network | None
    pictures: PictureSet


def jobs(bench: Bench, sections: list[str]) -> list[Job]:
    """What these sections measure with the networks that are in hand; what several have is there once."""
    found: dict[tuple[str, str], Job] = {}
    for section in sections:
        systems, sets = _TABLES.get(section, ((), lambda bench: []))
        for pictures in sets(bench):
            for system in systems:
                network = bench.shelf.find(system.network) if system.network else None
                if system.network and network is None:
                    print(f"{system.name}: the network is not in hand, what was stored of it stays")
                    continue
                own = pictures if system.is_random else pictures.once()
                found[system.name, pictures.name] = Job(system, network, own)
    return list(found.values())


def run(bench: Bench, sections: list[str]) -> None:
    """Measure what is not measured yet, and say how long it takes."""
    todo = jobs(bench, sections)
    clock = Clock(sum(_open(bench, job) for job in todo))
    if clock.left:
        print(f"{clock.left} results to compute and score", flush=True)
    for job in todo:
        measure(job.system, job.network, job.pictures, bench.results, bench.threads, clock)
    if "fig2" in sections:
        _figure2(bench)
    if "panels" in sections:
        draw_figures(bench.shelf, bench.results, bench.threads)


def _open(bench: Bench, job: Job) -> int:
    """How many results of a job are not there yet."""
    path = bench.results / f"{job.system.name}.{job.pictures.name}.json"
    done = begun(path, request_of(job.system, job.network, job.pictures), job.pictures)
    return sum(pair.runs for pair in job.pictures.pairs if pair.name not in done)


def _figure2(bench: Bench) -> None:
    found = {name: (bench.shelf.find(network), options) for name, (network, options) in FIG2.items()}
    systems = {name: (network, options) for name, (network, options) in found.items() if network is not None}
    for level in FIG2_LEVELS:
        each = level == FIG2_MIDDLE
        measure_steps(systems, bench.level(level), bench.results, bench.threads, each_step=each)


Sets = Callable[[Bench], list[PictureSet]]


def _on_realsr(bench: Bench) -> list[PictureSet]:
    return [bench.realsr()]


_TABLES: dict[str, tuple[tuple[System, ...], Sets]] = {
    "table1": (TABLE1, _on_realsr),
    "table2": (TABLE2, _on_realsr),
    "table3": (TABLE3, _on_realsr),
    "table5": (TABLE5, _on_realsr),
    "levels": (LEVELS, lambda bench: [bench.level(level) for level in ON_LEVELS]),
}
SECTIONS = (*_TABLES, "fig2", "panels")

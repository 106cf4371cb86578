"""What is measured, section by section."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduction.figures import draw_figures
from reproduction.measure import FIG2_STEPS, System, measure, measure_steps
from reproduction.networks import Shelf
from reproduction.pictures import PictureSet, degraded, realsr

UNIFORM = {"sampling": "uniform", "steps": 2}


def _nuts(T: int, t_max: str, t_min: str) -> dict[str, Any]:
    return {"T": T, "t_max": t_max, "t_min": t_min}


TABLE1 = (
    System("v1", "V1: no NUTS, no DeFT", "v1", UNIFORM),
    System("v2", "V2: no DeFT", "v2", _nuts(6, "2/3", "1/2")),
    System("full", "full", "full", _nuts(6, "2/3", "1/2")),
)
TABLE2 = (
    System("full-T18", "T=18", "full", _nuts(18, "2/3", "1/2")),
    System("full-T12", "T=12", "full", _nuts(12, "2/3", "1/2")),
    TABLE1[2],
)
TABLE3 = (
    System("full-2_3-1_3", "2/3, 1/3", "full", _nuts(6, "2/3", "1/3")),
    System("full-5_6-1_2", "5/6, 1/2", "full", _nuts(6, "5/6", "1/2")),
    System("full-5_6-2_3", "5/6, 2/3", "full", _nuts(6, "5/6", "2/3")),
    System("full-1_2-1_6", "1/2, 1/6", "full", _nuts(6, "1/2", "1/6")),
    TABLE1[2],
)
TABLE5 = (TABLE1[2], System("full-S1", "full, one step", "full", {"steps": 1}))
TWINS = (TABLE1[1], System("twin", "V2, all 569 crops", "twin", _nuts(6, "2/3", "1/2")))
FIG2 = {
    "v1": ("v1", {"sampling": "uniform", "steps": FIG2_STEPS}),
    "l1": ("l1", {"steps": 1}),
    "l1-gan": ("l1-gan", {"steps": 1}),
}
LEVELS = ("light", "medium", "heavy")


@dataclass(frozen=True)
class Bench:
    """Where everything lies and how much is measured."""

    shelf: Shelf
    data: Path
    work: Path
    results: Path
    seeds: int
    images: int
    threads: int

    def sets(self) -> list[PictureSet]:
        """RealSR and the stand-in, of half as many pictures."""
        return [realsr(self.data, self.work, self.images), self.stand_in("medium")]

    def stand_in(self, level: str) -> PictureSet:
        """cid22_validation through one of the degradations."""
        return degraded(self.data, self.work, max(1, self.images // 2), level)

    def run(self, systems: tuple[System, ...], sets: list[PictureSet]) -> None:
        """Measure each system on each set, those whose network is in hand."""
        for pictures in sets:
            for system in systems:
                network = self.shelf.find(system.network)
                if network is None:
                    print(f"{system.name}: the network is not in hand, what was stored of it stays")
                    continue
                measure(system, network, pictures, self.seeds, self.work, self.results, self.threads)


def _figure2(bench: Bench) -> None:
    found = {name: (bench.shelf.find(network), options) for name, (network, options) in FIG2.items()}
    systems = {name: (network, options) for name, (network, options) in found.items() if network is not None}
    for level in LEVELS:
        measure_steps(systems, bench.stand_in(level), bench.results, bench.threads, each_step=level == "medium")


def _table(systems: tuple[System, ...]) -> Callable[[Bench], None]:
    return lambda bench: bench.run(systems, bench.sets())


def _realsr_table(systems: tuple[System, ...]) -> Callable[[Bench], None]:
    return lambda bench: bench.run(systems, bench.sets()[:1])


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "table1": _table(TABLE1),
    "table2": _realsr_table(TABLE2),
    "table3": _realsr_table(TABLE3),
    "table5": _realsr_table(TABLE5),
    "twins": _table(TWINS),
    "fig2": _figure2,
    "panels": lambda bench: draw_figures(bench.shelf, bench.results, bench.threads),
}

"""The specification has every section that the code cites, and its figures are what the code computes."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from ccsr.sampler import NoiseSchedule, ddpm_step
from ccsr.timesteps import nuts_trajectory

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
SECTIONS = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?) ", SPEC, re.MULTILINE))
NUMBER = r"\d+(?:\.\d+)?"
CITED = re.compile(rf"ccsr-spec\s+({NUMBER}(?:(?:,|\s+and|\s+to)\s+{NUMBER}\b)*)")


def citations() -> Iterator[tuple[str, str]]:
    for folder in ("src", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for cited in CITED.findall(path.read_text(encoding="utf-8")):
                yield from ((path.name, number) for number in re.findall(NUMBER, cited))


def rows(section: str, columns: int) -> list[list[str]]:
    """Cells of the rows of a section's tables with so many columns, without their heads."""
    text = re.search(rf"^### {re.escape(section)} .*?(?=^##)", SPEC, re.MULTILINE | re.DOTALL)
    assert text is not None
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in text[0].splitlines() if line.startswith("|")]
    return [row for row in cells if len(row) == columns and row[0].isdigit()]


def test_every_cited_section_exists() -> None:
    cited = list(citations())
    assert len(cited) > 40  # the pattern finds them
    assert [c for c in cited if c[1] not in SECTIONS] == []


def test_noise_schedule() -> None:
    table = rows("1.2", 5)
    assert len(table) == 10
    alpha_bar = NoiseSchedule.scaled_linear().alpha_bar
    for t, *figures in table:
        a = alpha_bar[int(t)]
        computed = [float(x) for x in (a, a.sqrt(), (1 - a).sqrt(), (1 - a) / a)]
        assert [float(f) for f in figures] == pytest.approx(computed, rel=1e-5)


def test_timesteps() -> None:
    table = [row for row in rows("1.4", 6) if row[0] != "1"]
    assert len(table) == 15
    for T, window, _, evaluated, count, _ in table:
        t_max, t_min = (Fraction(share) for share in window.split(", "))
        timesteps = nuts_trajectory(int(T), t_max, t_min).timesteps
        assert timesteps == tuple(map(int, evaluated.split(", ")))
        assert len(timesteps) == int(count)


def test_steps() -> None:
    table = [row for row in rows("1.5", 5) if "->" in row[1]]
    assert len(table) == 9
    schedule, one, zero = NoiseSchedule.scaled_linear(), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    for _, leap, *figures in table:
        t, previous = leap.replace("none", "-1").split(" -> ")
        computed = [
            float(ddpm_step(schedule, z_t, x0, int(t), int(previous), noise))
            for x0, z_t, noise in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
        ]
        assert [float(f) for f in figures] == pytest.approx(computed, rel=1e-4, abs=1e-9)

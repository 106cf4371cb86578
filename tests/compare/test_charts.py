"""Points stand where their figures are, and names can be read."""

import itertools
import re

import pytest

from ccsr.compare.charts import Axis, Point, scatter

DOTS = re.compile(r'<circle class="p(\d)" cx="([\d.]+)" cy="([\d.]+)"')
NAMES = re.compile(r'<text class="name" y="([\d.]+)" x="([\d.]+)"( text-anchor="end")?>([^<]*)<')


def test_places() -> None:
    points = [Point("low", 20, 0.5, 0), Point("middle", 25, 0.4, 1), Point("high", 30, 0.3, 2)]
    drawn = scatter(points, Axis("PSNR", "higher"), Axis("LPIPS", "lower"))
    (x0, y0), (x1, y1), (x2, y2) = [(float(x), float(y)) for _, x, y in sorted(DOTS.findall(drawn))]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert x0 < x1
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.11)
    assert y0 < y1  # larger values stand higher
    assert "PSNR (right is better)" in drawn
    assert "LPIPS (down is better)" in drawn


def test_decades_are_equally_wide() -> None:
    points = [Point(str(i), 10.0**i, 1.0 + i, i) for i in range(-2, 3)]
    drawn = scatter(points, Axis("s", "lower", is_log=True), Axis("PSNR", "higher"))
    x = sorted(float(x) for _, x, _ in DOTS.findall(drawn))
    assert [b - a for a, b in itertools.pairwise(x)] == pytest.approx([x[1] - x[0]] * 4, abs=0.11)
    assert all(f">{10.0**i:g}</text>" in drawn for i in range(-2, 3))


def test_names_of_neighbours_do_not_cover_each_other() -> None:
    points = [Point(f"method {i}", 25 + 0.01 * i, 0.4, i) for i in range(5)] + [Point("far", 20, 0.1, 5)]
    drawn = scatter(points, Axis("x", "higher"), Axis("y", "higher"))
    lines = sorted(float(y) for y, *_, label in NAMES.findall(drawn) if label.startswith("method"))
    assert len(lines) == 5
    assert all(b - a >= 11.9 for a, b in itertools.pairwise(lines))


@pytest.mark.parametrize("value", [0.0, 25.0])
def test_equal_values_are_no_division_by_zero(value: float) -> None:
    drawn = scatter([Point("a", value, 1, 0), Point("b", value, 1, 1)], Axis("x", "higher"), Axis("y", "higher"))
    assert len(DOTS.findall(drawn)) == 2
    assert "nan" not in drawn


def test_names_are_escaped() -> None:
    drawn = scatter([Point("<b>", 1, 1, 0), Point("c", 2, 2, 1)], Axis("x", "higher"), Axis("y", "higher"))
    assert "<b>" not in drawn
    assert "&lt;b&gt;" in drawn

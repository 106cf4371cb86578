"""Scatter charts as SVG that stands inside a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 44


@dataclass(frozen=True)
class Point:
    """One method."""

    label: str
    x: float
    y: float
    number: int
    """Which colour."""


@dataclass(frozen=True)
class Axis:
    """What is drawn along one side."""

    title: str
    better: str
    """higher or lower."""
    is_log: bool = False


def scatter(points: Sequence[Point], x: Axis, y: Axis) -> str:
    """A chart of points with their names; the better end of both axes is told in their titles."""
    place_x = _AxisScale([p.x for p in points], x.is_log, LEFT, WIDTH - RIGHT)
    place_y = _AxisScale([p.y for p in points], y.is_log, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y.title)} against'
        f' {escape(x.title)}">'
    ]
    for value in place_x.ticks:
        at = place_x(value)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    for value in place_y.ticks:
        at = place_y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    x_title = f"{x.title} ({'right' if x.better == 'higher' else 'left'} is better)"
    y_title = f"{y.title} ({'up' if y.better == 'higher' else 'down'} is better)"
    parts.append(f'<text class="title" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>')
    parts.append(
        f'<text class="title" transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"'
        f' text-anchor="middle">{escape(y_title)}</text>'
    )
    # Names keep off points and off other names: (left, line, width).
    taken = [(place_x(point.x) - 5, place_y(point.y) + 4, 10.0) for point in points]
    for point in sorted(points, key=lambda p: place_y(p.y)):
        at_x, at_y = place_x(point.x), place_y(point.y)
        width = 6.6 * len(point.label)
        is_left = at_x + 9 + width > WIDTH - RIGHT
        begin = at_x - 9 - width if is_left else at_x + 9
        line = at_y + 4
        while any(abs(line - y_) < 12 and begin < x_ + w_ and x_ < begin + width for x_, y_, w_ in taken):
            line += 4
        taken.append((begin, line, width))
        anchor = f'x="{at_x - 9:.1f}" text-anchor="end"' if is_left else f'x="{at_x + 9:.1f}"'
        parts.append(
            f'<circle class="p{point.number % 8}" cx="{at_x:.1f}" cy="{at_y:.1f}" r="5">'
            f"<title>{escape(point.label)}: {point.x:.4g}, {point.y:.4g}</title></circle>"
            f'<text class="name" y="{line:.1f}" {anchor}>{escape(point.label)}</text>'
        )
    return "".join([*parts, "</svg>"])


class _AxisScale:
    """From values to places between two ends, with round values to mark."""

    def __init__(self, values: Sequence[float], is_log: bool, begin: float, end: float) -> None:
        self.is_log, self.begin, self.end = is_log, begin, end
        low, high = min(values), max(values)
        if is_log:
            self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
            self.high += self.high == self.low
            self.ticks = [10.0**n for n in range(self.low, self.high + 1)]
            return
        margin = (high - low) * 0.12 or abs(high) * 0.05 or 1.0
        step = _round_step((high - low + 2 * margin) / 4)
        first = math.ceil((low - margin) / step)
        last = math.floor((high + margin) / step)
        self.low, self.high = low - margin, high + margin  # type: ignore[assignment]
        self.ticks = [round(n * step, 10) for n in range(first, last + 1)]

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.is_log else value
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def _round_step(rough: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)

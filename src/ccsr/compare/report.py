"""The report: one HTML file that opens anywhere and asks the network for nothing."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from ccsr.compare.charts import Axis, Point, scatter
from ccsr.compare.panels import Sheet, chosen_names, sheet
from ccsr.compare.run import Comparison, Row
from ccsr.compare.scoring import Figure
from ccsr.compare.table import NOT_AVAILABLE, Table
from ccsr.errors import MissingExtraError
from ccsr.metrics import Metric
from ccsr.stability.maps import FULL, coloured
from ccsr.version import __version__

FIDELITY = ("psnr", "ssim", "psnr_rgb", "l1")
PERCEPTION = ("lpips", "dists", "musiq", "clipiqa", "maniqa", "squeezenet", "niqe")
"""Metrics for the axes of charts, the first one there is."""


def report(comparison: Comparison, tables: Sequence[Table], heading: Sequence[str]) -> str:
    """The page as text.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError(
            "Jinja2 is not installed", hint="pip install 'ccsr[compare]', or --no-report"
        ) from error
    page = resources.files("ccsr.compare").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    sheets: list[Sheet] = [sheet(comparison, name) for name in chosen_names(comparison)]
    return environment.from_string(page).render(
        title=comparison.config.title or comparison.config.dataset or "Comparison",
        heading=heading,
        tables=tables,
        not_available=NOT_AVAILABLE,
        charts=charts(comparison),
        sheets=sheets,
        scale=_colour_scale(),
        full=f"{FULL * 255:.0f}",
        version=__version__,
    )


def charts(comparison: Comparison) -> list[dict[str, Any]]:
    """Titles and SVG of the charts that the figures allow, over the common pictures."""
    by_name = {metric.name: metric for metric in comparison.config.chosen}
    fidelity = next((by_name[name] for name in FIDELITY if name in by_name), None)
    perception = next((by_name[name] for name in PERCEPTION if name in by_name), None)
    drawn = []
    if fidelity and perception:
        both = _points(comparison, lambda row: _value(comparison, row, fidelity), perception)
        drawn.append(
            (f"Fidelity ({fidelity.title}) against perception ({perception.title})", both, _axis(fidelity), perception)
        )
    seconds = Axis("seconds per picture", "lower", is_log=True)
    for metric in (fidelity, perception):
        if metric:
            points = _points(comparison, lambda row: row.cost.seconds or None, metric)
            drawn.append((f"Time against {metric.title}", points, seconds, metric))
    return [
        {"title": title, "svg": scatter(points, x, _axis(metric))}
        for title, points, x, metric in drawn
        if len(points) > 1
    ]


def _axis(metric: Metric) -> Axis:
    return Axis(metric.title, metric.direction)


def _value(comparison: Comparison, row: Row, metric: Metric) -> float | None:
    figure: Figure | None = row.scores.figure(metric, comparison.common) if row.scores else None
    return figure.mean if figure else None


def _points(comparison: Comparison, x_of: Any, y: Metric) -> list[Point]:
    points = []
    for number, row in enumerate(comparison.rows):
        at_x, at_y = x_of(row), _value(comparison, row, y)
        if at_x is not None and at_y is not None:
            points.append(Point(row.method.name, at_x, at_y, number))
    return points


def _colour_scale() -> str:
    """The stability map's colours as a CSS gradient."""
    import numpy as np

    colours = coloured(np.linspace(0, FULL, 9)[None])[0]
    return ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours)

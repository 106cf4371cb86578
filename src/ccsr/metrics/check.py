"""Which metrics can be computed here: what is installed, which files of weights are found, and whether they load."""

from dataclasses import dataclass

from ccsr.errors import CCSRError
from ccsr.metrics.learned import FILE_SOURCES, found_files
from ccsr.metrics.registry import METRICS, Metric


@dataclass(frozen=True)
class Readiness:
    """Of one metric."""

    metric: Metric
    reason: str | None
    """Why it cannot be computed; None: it can."""
    files: dict[str, str | None]
    """Files of weights that it needs, each with its place here, or None."""

    @property
    def absent(self) -> dict[str, str]:
        """The files that are not here, each with where it is published."""
        return {file: FILE_SOURCES[file] for file, path in self.files.items() if path is None}


def check_metrics() -> list[Readiness]:
    """Try to load every metric there is."""
    return [_readiness(metric) for metric in METRICS.values()]


def _readiness(metric: Metric) -> Readiness:
    files = {file: str(path) if path else None for file, path in found_files(metric.files).items()}
    try:
        metric.load()
    except CCSRError as error:
        return Readiness(metric, str(error), files)
    except Exception as error:  # another library's own: any kind, and none of them ends the check
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        return Readiness(metric, f"{metric.implementation} cannot load it: {first}", files)
    return Readiness(metric, None, files)

"""The figures: G-STD and L-STD (paper IV-B, ccsr-spec 8)."""

from dataclasses import dataclass

import numpy as np

from ccsr.errors import OptionError


def gstd(scores: np.ndarray) -> float:
    """Global deviation of a metric: population std over runs, mean over pictures (paper Eq. 4).

    `scores` is (pictures, runs). 0 for one run.
    """
    return float(np.std(np.asarray(scores, float), axis=1).mean())


class StabilityMeter:
    """Local deviation (paper Eq. 5) of pictures that arrive one run after another.

        L-STD = mean over pictures, channels and pixels of sqrt(1/N sum_i (x_i - mean_i x_i)^2)

    The printed Eq. 5 lacks the square, without which the sum is zero. Values are 0..1, so L-STD is 0 to 0.5.

    Results of one picture come together: `update(image_id, run, picture)` for each run, then the next picture. So
    memory holds one picture's sums, whatever the number of pictures and runs.
    """

    def __init__(self) -> None:
        self._image_id: str | None = None
        self._runs: list[int] = []
        self._mean = self._squares = np.zeros(0)
        self._closed: dict[str, float] = {}

    def update(self, image_id: str, run: int, picture: np.ndarray) -> None:
        """Take in one result: an array or a tensor of any shape, values in 0..1, alike for all runs of a picture.

        Raises:
            OptionError: a picture that was left before, a run that was seen before, or another shape.
        """
        values = np.asarray(picture, dtype=np.float64)
        if image_id != self._image_id:
            self._open(image_id, values)
        if run in self._runs:
            raise OptionError(f"run {run} of {image_id} was measured before")
        if values.shape != self._mean.shape:
            raise OptionError(f"run {run} of {image_id} has the shape {values.shape}, not {self._mean.shape}")
        self._runs.append(run)
        # Welford's update: stable for values that hardly differ, as they should.
        difference = values - self._mean
        self._mean += difference / len(self._runs)
        self._squares += difference * (values - self._mean)

    @property
    def mean(self) -> np.ndarray:
        """Mean result of the present picture, float64, shaped as the results."""
        return self._mean

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation over runs of each value of the present picture, float64, shaped as the results."""
        return np.sqrt(self._squares / max(1, len(self._runs)))

    def result(self) -> "LocalDeviation":
        """What was measured so far; the meter can go on."""
        per_image = dict(self._closed)
        if self._image_id is not None:
            per_image[self._image_id] = float(self.deviation.mean())
        return LocalDeviation(float(np.mean(list(per_image.values()))) if per_image else float("nan"), per_image)

    def _open(self, image_id: str, values: np.ndarray) -> None:
        if image_id in self._closed:
            raise OptionError(f"{image_id} was measured before", hint="give all runs of one picture together")
        if self._image_id is not None:
            self._closed[self._image_id] = float(self.deviation.mean())
        self._image_id, self._runs = image_id, []
        self._mean, self._squares = np.zeros_like(values), np.zeros_like(values)


@dataclass(frozen=True)
class LocalDeviation:
    """L-STD over all pictures, and of each; values in 0..1."""

    lstd: float
    per_image: dict[str, float]

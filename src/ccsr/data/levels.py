"""Levels of damage that a model is judged at, each by itself: a mean over all of them hides who gains and who loses."""

from ccsr.data.pairs import DegradationConfig
from ccsr.degradation import Camera
from ccsr.errors import OptionError

LEVELS: dict[str, DegradationConfig] = {
    "clean": DegradationConfig(clean_share=1.0),
    "light": DegradationConfig(light_share=1.0),
    "medium": DegradationConfig(camera_share=1.0, camera=Camera(blur=(0.3, 2.5), noise=25.0)),
    "heavy": DegradationConfig(),
    "noisy": DegradationConfig(strong_share=1.0),
}
"""Only reduced; faint noise; what a camera does; the published second-order pipeline; strong noise and a poor JPEG."""


def level_of(name: str) -> tuple[DegradationConfig, int]:
    """The degradation and the factor of a name such as `heavy_x4`.

    Raises:
        OptionError: there is no such level.
    """
    damage, _, factor = name.rpartition("_x")
    if damage not in LEVELS or factor not in {"1", "2", "3", "4", "8"}:
        known = f"one of {', '.join(LEVELS)}, with _x1, _x2, _x3, _x4 or _x8 behind it"
        raise OptionError(f"validation.levels has {name!r}", hint=known)
    return LEVELS[damage], int(factor)

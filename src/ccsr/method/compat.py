"""What `--compat` switches: named values that the modules ask for, never the name of a program."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Compat:
    """Option values of one way to run the method."""

    fit: Literal["pad", "eights", "sixty_fours"] = "pad"
    """How a picture comes to sides that the networks take: padded, or resized in 8 bit to multiples of 8 by bicubic
    (ccsr-spec 1.3) or of 64 by Lanczos (4.6)."""
    first_version_grid: bool = False
    """The list of indices of the first published program (ccsr-spec 4.5) instead of the second's."""
    start_from_noise: bool = False
    """Pure noise as the start whatever the option says (ccsr-spec 4.5)."""
    sides_rounded_up: bool = False
    """Sides of a result are rounded up from the product in floating point (ccsr-spec 4.6), not to the nearest."""
    float_shares: bool = False
    """T times t_max and t_min in floating point, as published: 45 * 0.7 is a little less than 31.5 there."""
    skipped_start: bool = False
    """t_max = 1 leaves out the evaluation of index 999, though the start is noised to it (ccsr-spec 1.4, point 4)."""
    whole_encoder: bool = False
    """The encoder never runs in tiles (ccsr-spec 1.1, 4.6)."""
    empty_prompt: bool = False
    """The embedding of the empty text, where the model has one (ccsr-spec 4.4)."""
    posterior_draws: int = 1
    """Draws of the input's latent under guidance: one for both rows, or one for each; 0 is the mean, without any."""
    guided_start: bool = True
    """Guidance at index 999 too; otherwise that evaluation is unguided, on the negative embedding (ccsr-spec 1.6)."""
    round_decoded: bool = False
    """Clamp and round the decoded picture to 8 bit before the colour fix (ccsr-spec 1.6)."""
    truncate: bool = False
    """Truncate to 8 bit after the colour fix instead of rounding (ccsr-spec 9)."""
    symmetric_window: bool = True
    whole_norms: bool = True
    """Group norms of tiles share the whole picture's statistics; otherwise each tile is normalised by itself."""
    overlap: float | None = None
    """Share of a tile that overlaps; None is a margin of the receptive field."""
    min_size: int | None = None
    """Shortest side of the output that is processed; None is the model's own."""


COMPAT = {
    "none": Compat(),
    "v2": Compat(
        fit="eights",
        posterior_draws=2,
        guided_start=False,
        float_shares=True,
        skipped_start=True,
        whole_encoder=True,
        round_decoded=True,
        truncate=True,
        symmetric_window=False,
        whole_norms=False,
        overlap=0.5,
        min_size=512,
    ),
    "v1": Compat(
        fit="sixty_fours",
        first_version_grid=True,
        sides_rounded_up=True,
        float_shares=True,
        whole_encoder=True,
        start_from_noise=True,
        empty_prompt=True,
        posterior_draws=0,
        truncate=True,
        symmetric_window=False,
        whole_norms=False,
        overlap=0.5,
        min_size=512,
    ),
}

"""What `--compat` switches: named values that the modules ask for, never the name of a program."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Compat:
    """Option values of one way to run the method."""

    stretch: bool = False
    """Resize to multiples of 8 and back, in 8 bit, instead of padding and cropping (ccsr-spec 1.3)."""
    eight_bit: bool = False
    """Round the decoded picture to 8 bit before the colour fix and truncate after it (ccsr-spec 9)."""
    posterior_draws: int = 1
    """Draws of the input's latent under guidance: one for both rows, or one for each."""
    guided_start: bool = True
    """Guidance at index 999 too; otherwise that evaluation is unguided, on the negative embedding (ccsr-spec 1.6)."""
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
        stretch=True,
        eight_bit=True,
        posterior_draws=2,
        guided_start=False,
        symmetric_window=False,
        whole_norms=False,
        overlap=0.5,
        min_size=512,
    ),
}

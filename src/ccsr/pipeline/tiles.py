"""From a plan's tiles, in pixels of the result, to those of each part, in pixels of the tensor that it cuts."""

from typing import Literal

from ccsr.method.compat import Compat
from ccsr.networks.tiled import TileSettings
from ccsr.plan import Plan


def tile_settings(
    part: Literal["encode", "denoise", "decode"], plan: Plan, compat: Compat, latent_factor: int, size_multiple: int
) -> TileSettings | None:
    """Tiles of one part: of the picture for `encode`, of the latent for the others; None: in one piece.

    `latent_factor` is picture pixels per latent pixel, `size_multiple` what the sides of a picture are multiples of.
    """
    pixels = plan.tile if part == "denoise" else plan.vae_tile
    if pixels is None:
        return None
    unit = latent_factor if compat.fit == "eights" else size_multiple
    tile = max(unit, pixels // unit * unit)
    # A margin of the receptive field: that of the UNet is twice the VAE's, in latent pixels.
    margin = (32 if part == "denoise" else 16) * latent_factor
    share = compat.overlap if plan.overlap is None else plan.overlap
    overlap = min(margin, tile // 2) if share is None else tile * share
    stride = max(unit, round((tile - overlap) / unit) * unit)
    divisor = 1 if part == "encode" else latent_factor
    return TileSettings(
        tile // divisor,
        stride // divisor,
        compat.whole_norms,
        compat.symmetric_window,
        unit=unit // divisor if compat.overlap is None else None,
        together=plan.together if part == "denoise" else plan.vae_together,
        gather_tile=min(tile, 512) // divisor,
    )

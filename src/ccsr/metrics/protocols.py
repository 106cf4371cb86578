"""Evaluation protocols of published papers: which metrics, which implementation, and what is cut from the border."""

from dataclasses import dataclass
from difflib import get_close_matches

from ccsr.errors import OptionError
from ccsr.metrics.registry import METRICS, Metric

OWN = ("psnr", "ssim", "niqe")


@dataclass(frozen=True)
class Protocol:
    """How one group of papers measures. Pictures are 8 bit RGB in all of them; PSNR and SSIM see Y of BT.601."""

    name: str
    border: int
    """Pixels cut from each side of both pictures before any metric, and before L-STD."""
    learned: tuple[str, ...]
    """Metrics beyond PSNR, SSIM and NIQE that the paper prints."""
    source: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that the protocol asks for, in the order of tables."""
        return (*OWN, *self.learned)


_LISTED = (
    Protocol(
        "ccsr",
        4,
        ("lpips", "dists", "fid", "clipiqa", "musiq", "maniqa"),
        "the paper, IV-A and IV-B, and the published script cal_iqa.py, which cuts 4 pixels (ccsr-spec 8)",
    ),
    Protocol(
        "osediff",
        0,
        ("lpips", "dists", "fid", "clipiqa", "musiq", "maniqa"),
        "cswry/OSEDiff, test_metrics.py (851cb88): nothing is cut, MANIQA is the PIPAL variant",
    ),
    Protocol(
        "seesr",
        4,
        ("lpips", "dists", "fid", "clipiqa", "musiq", "maniqa"),
        "cswry/SeeSR issue 30: the author names MANIQA's PIPAL weights and a border of 4",
    ),
    Protocol(
        "stablesr",
        0,
        ("lpips", "fid", "clipiqa", "musiq"),
        "StableSR's paper and IceClear/StableSR issue 68 (pyiqa); a border is not stated, so none is cut",
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _LISTED}


def chosen_metrics(protocol: Protocol, names: str | None) -> list[Metric]:
    """The protocol's metrics, or those of a comma-separated list; `all` means every one there is.

    Raises:
        OptionError: a name that is no metric.
    """
    if names is None:
        listed: list[str] = list(protocol.metrics)
    elif names == "all":
        listed = list(METRICS)
    else:
        listed = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in listed if name not in METRICS]
    if unknown or not listed:
        word = unknown[0] if unknown else names
        close = get_close_matches(str(word), METRICS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(METRICS)}"
        raise OptionError(f"no metric is called {word!r}", hint=hint)
    return [METRICS[name] for name in listed]

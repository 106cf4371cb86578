"""A method that is not in hand: the paper's row alone."""

from dataclasses import dataclass
from typing import ClassVar

from ccsr.compare.methods.base import Method, MethodJob, MethodResult
from ccsr.errors import CCSRError, OptionError


@dataclass(frozen=True, kw_only=True)
class PaperOnly(Method):
    """What the paper prints, where neither program nor results are at hand."""

    is_expected: ClassVar[bool] = False

    def check(self) -> None:
        """Without a row there would be nothing at all."""
        if not self.paper:
            raise OptionError(f"{self.name} has no row", hint="paper: CCSR-S1")

    def make(self, job: MethodJob) -> MethodResult:
        """Nothing is made."""
        raise CCSRError("not available")

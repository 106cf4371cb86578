"""Results that somebody made before."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ccsr.compare.find_results import find_results, place
from ccsr.compare.methods.base import Method, MethodJob, MethodResult


@dataclass(frozen=True, kw_only=True)
class Folder(Method):
    """A folder of finished results, in any layout that `find_results` knows."""

    PATHS: ClassVar[tuple[str, ...]] = ("path",)

    path: Path
    outputs: str | None = None
    """Pattern of the files that are meant, such as `*/{name}_out.png`."""

    def runs(self, asked: int) -> int:
        """Whatever lies there."""
        return 0

    def make(self, job: MethodJob) -> MethodResult:
        """Copy the files that belong to the inputs; time and memory are not known."""
        found = find_results(self.path, job.inputs, self.outputs)
        shutil.rmtree(job.results, ignore_errors=True)
        place(found, job.results)
        return MethodResult()

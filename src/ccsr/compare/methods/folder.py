"""Results that somebody made before."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ccsr.compare.methods.base import Job, Made, Method
from ccsr.compare.outputs import find_outputs, place


@dataclass(frozen=True, kw_only=True)
class Folder(Method):
    """A folder of finished results, in any layout that `find_outputs` knows."""

    PATHS: ClassVar[tuple[str, ...]] = ("path",)

    path: Path
    outputs: str | None = None
    """Pattern of the files that are meant, such as `*/{name}_out.png`."""

    def runs(self, asked: int) -> int:
        """Whatever lies there."""
        return 0

    def make(self, job: Job) -> Made:
        """Copy the files that belong to the inputs; time and memory are not known."""
        found = find_outputs(self.path, job.inputs, self.outputs)
        shutil.rmtree(job.results, ignore_errors=True)
        place(found, job.results)
        return Made()

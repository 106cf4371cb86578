"""Networks in ncnn's format, such as the Real-ESRGAN family; needs the package `ncnn`."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ccsr.compare.methods.base import Method, MethodJob, MethodResult
from ccsr.compare.methods.run_worker import make_with_worker
from ccsr.errors import MissingExtraError, WeightsError
from ccsr.weights.manifest import file_sha256


@dataclass(frozen=True, kw_only=True)
class Ncnn(Method):
    """A pair of files; one RGB picture in 0..1 goes in as planes, one comes out, on the CPU, without tiles."""

    PATHS: ClassVar[tuple[str, ...]] = ("param", "weights")
    has_steps: ClassVar[bool] = False

    param: Path
    weights: Path | None = None
    """The `.bin` file; by default the one beside `param`."""
    sha256: str | None = None
    """Of the `.bin` file, where a row stands for just these weights."""

    def identity(self) -> tuple[str, ...]:
        """Hashes of both files: results stay where a file is fetched again.

        Raises:
            WeightsError: one of them is not there, or not the one that is asked for.
        """
        for path in self._files():
            if not path.is_file():
                raise WeightsError("there is no such file", path=path, hint=self.source)
        found = tuple(map(file_sha256, self._files()))
        if self.sha256 not in (None, found[1]):
            raise WeightsError(f"its sha256 is {found[1]}", path=self._files()[1], hint=f"expected {self.sha256}")
        return found

    def make(self, job: MethodJob) -> MethodResult:
        """Run it in the worker."""
        if importlib.util.find_spec("ncnn") is None:
            raise MissingExtraError("ncnn is not installed", hint="pip install 'ccsr[compare]'")
        param, weights = map(str, self._files())
        return make_with_worker(job, {"method": "ncnn", "param": param, "weights": weights})

    def _files(self) -> tuple[Path, Path]:
        return self.param, self.weights or self.param.with_suffix(".bin")

"""Networks in ncnn's format, such as the Real-ESRGAN family; needs the package `ncnn`."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ccsr.compare.methods.base import Method, MethodJob, MethodResult
from ccsr.compare.methods.run_worker import make_with_worker
from ccsr.errors import MissingExtraError, WeightsError


@dataclass(frozen=True, kw_only=True)
class Ncnn(Method):
    """A pair of files; one RGB picture in 0..1 goes in as planes, one comes out, on the CPU, without tiles."""

    PATHS: ClassVar[tuple[str, ...]] = ("param", "weights")
    has_steps: ClassVar[bool] = False

    param: Path
    weights: Path | None = None
    """The `.bin` file; by default the one beside `param`."""

    def identity(self) -> tuple[int, ...]:
        """Sizes and times of both files."""
        return tuple(
            n for path in self._files() if path.exists() for n in (path.stat().st_size, path.stat().st_mtime_ns)
        )

    def make(self, job: MethodJob) -> MethodResult:
        """Run it in the worker."""
        for path in self._files():
            if not path.is_file():
                raise WeightsError("there is no such file", path=path)
        if importlib.util.find_spec("ncnn") is None:
            raise MissingExtraError("ncnn is not installed", hint="pip install 'ccsr[compare]'")
        param, weights = map(str, self._files())
        return make_with_worker(job, {"method": "ncnn", "param": param, "weights": weights})

    def _files(self) -> tuple[Path, Path]:
        return self.param, self.weights or self.param.with_suffix(".bin")

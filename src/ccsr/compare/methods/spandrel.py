"""GAN and regression models from a weight file, through spandrel in an environment of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ccsr.compare.methods.base import Method, MethodJob, MethodResult
from ccsr.compare.methods.run_worker import make_with_worker
from ccsr.errors import OptionError, WeightsError


@dataclass(frozen=True, kw_only=True)
class Spandrel(Method):
    """A file of weights that spandrel recognises: BSRGAN, Real-ESRGAN, SwinIR and some forty more architectures.

    spandrel needs torchvision, which cannot be installed beside the tested torch: `python` names the interpreter of
    an environment that has it (`make test-extras` makes one in `.venv-extras`).
    """

    PATHS: ClassVar[tuple[str, ...]] = ("weights", "python")
    has_steps: ClassVar[bool] = False

    weights: Path
    python: Path
    device: str | None = None
    """cuda or cpu; by default what there is."""
    allow_pickle: bool = False
    """Read `.pth` too, by spandrel's restricted unpickler."""

    def check(self) -> None:
        """Pickle files are asked for on purpose."""
        if self.weights.suffix != ".safetensors" and not self.allow_pickle:
            raise OptionError(
                "is a pickle file, which can hold more than weights", path=self.weights,
                hint="allow_pickle: true reads it by spandrel's restricted reader",
            )  # fmt: skip

    def identity(self) -> tuple[int, ...]:
        """Size and time of the file."""
        return (self.weights.stat().st_size, self.weights.stat().st_mtime_ns) if self.weights.exists() else ()

    def make(self, job: MethodJob) -> MethodResult:
        """Run it in the worker, under the other interpreter."""
        if not self.weights.is_file():
            raise WeightsError("there is no such file", path=self.weights)
        if not self.python.exists():
            raise OptionError("there is no such interpreter", path=self.python, hint="make test-extras makes one")
        return make_with_worker(
            job, {"method": "spandrel", "weights": str(self.weights), "device": self.device}, self.python
        )

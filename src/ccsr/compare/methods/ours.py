"""Models of this package, through `ccsr upscale`: its journal lets a stopped comparison go on."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ccsr.compare import processes
from ccsr.compare.methods.base import Cost, Method, MethodJob, MethodResult
from ccsr.errors import CCSRError, OptionError
from ccsr.options import UpscaleOptions, options_of

RESERVED = ("model", "base_model", "samples", "seed", "threads", "format")


@dataclass(frozen=True, kw_only=True)
class Ours(Method):
    """A model at one setting of its options."""

    model: str = "nano"
    base_model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `ccsr upscale`: `steps: 2`, `scale: 4`, `color_fix: wavelet`."""

    def check(self) -> None:
        """Options are those of `ccsr upscale`."""
        for name in RESERVED:
            if name in self.options:
                raise OptionError(f"{name} is no option of a method", hint="model, base_model and samples stand beside")
        UpscaleOptions.from_mapping({**self.options, "model": self.model}, interface="cli")

    def runs(self, asked: int) -> int:
        """As many as asked for: every run has noise of its own."""
        return self.samples or asked

    def identity(self) -> str:
        """Hash of the weights, wherever they lie."""
        return self._description().sha256

    def note(self) -> str:
        """Which weights they are, so that rows of earlier ones are known."""
        told = f"weights of sha256 {self.identity()[:12]}"
        return f"{self.source}; {told}" if self.source else told

    def make(self, job: MethodJob) -> MethodResult:
        """Upscale; times are those of the pictures' records (encode, denoise, decode, colour)."""
        job.results.mkdir(parents=True, exist_ok=True)
        records: list[dict[str, Any]] = []
        total = len(job.inputs) * job.runs

        def listen(line: str) -> None:
            told = json.loads(line) if line.startswith("{") else {}
            if "status" in told:
                records.append(told)
                job.on_progress(len(records), total)

        words = [sys.executable, "-m", "ccsr", "upscale", *map(str, job.inputs.values()), "-o", f"{job.results}/"]
        words += ["--format", "png", "--json", "--quiet", "--no-progress", "--model", self.model]
        words += ["--samples", str(job.runs), "--seed", str(job.seed), *self._flags()]
        words += ["--base-model", self.base_model] if self.base_model else []
        words += ["--threads", str(job.threads)] if job.threads else []
        # 1: single pictures failed, which are told apart below.
        ended = processes.run(
            words, job.log, environment=processes.thread_limits(job.threads), on_line=listen, accepted=(0, 1)
        )
        failures = {r["input"]: r["error"] for r in records if r["status"] == "failed"}
        done = [record["seconds"] for record in records if record["status"] == "done"]
        if not done and len(failures) == len(job.inputs):
            raise CCSRError(next(iter(failures.values())))
        spent = [sum(seconds[stage] for stage in ("encode", "denoise", "decode", "color")) for seconds in done]
        return MethodResult(
            Cost(done[0]["load"], spent[0], spent[1:], ended.peak_bytes) if done else Cost(),
            records[0]["steps"] if records else None,
            sum(self._description().parameters.values()),
            {name: failures[str(path)] for name, path in job.inputs.items() if str(path) in failures},
        )

    def _description(self) -> Any:
        from ccsr.weights import describe

        return describe(self.model, self.base_model)

    def _flags(self) -> list[str]:
        """The options as they are typed."""
        words: list[str] = []
        for option in options_of(UpscaleOptions, "cli"):
            value = self.options.get(option.name)
            if option.kind is bool:
                words += [option.flag] if value else []
            elif value is not None:
                words += [option.flag, str(value)]
        return words

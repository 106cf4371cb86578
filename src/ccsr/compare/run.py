"""The work of a comparison: each method's results, scores and cost, one row after another."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccsr.compare.config import ComparisonConfig
from ccsr.compare.methods import KINDS, Cost, Method, MethodJob, MethodResult
from ccsr.compare.paper_values import PrintedRow
from ccsr.compare.scoring import Scores, score
from ccsr.compare.staging import StagedPictures, stage
from ccsr.data.pairing import RUN
from ccsr.errors import CCSRError
from ccsr.images import SUFFIXES
from ccsr.log import get_logger

log = get_logger("compare")
Tell = Callable[[str, str, int, int], None]
"""`tell(method, stage, done, total)`."""


@dataclass(frozen=True)
class Row:
    """One method: what came of it."""

    method: Method
    printed: PrintedRow | None
    results: Path
    cost: Cost = field(default_factory=Cost)
    steps: int | None = None
    parameters: int | None = None
    scores: Scores | None = None
    problem: str | None = None
    """Why there are no scores, or why there are fewer."""

    @property
    def names(self) -> list[str]:
        """Pictures that were scored."""
        return self.scores.names if self.scores else []


@dataclass(frozen=True)
class Comparison:
    """All rows, with the pictures that they were made from."""

    config: ComparisonConfig
    pictures: StagedPictures
    rows: list[Row]

    @property
    def common(self) -> list[str]:
        """Pictures that every method with results has."""
        scored = [set(row.names) for row in self.rows if row.scores]
        return sorted(set.intersection(*scored)) if scored else []


def compare(config: ComparisonConfig, output: Path, tell: Tell = lambda *words: None) -> Comparison:
    """Make, score and cost all methods; what an earlier call did in `output` is not done again.

    A method that fails is a row with the reason.

    Raises:
        CCSRError: the pictures cannot be used.
    """
    pictures = stage(*config.folders, config.limit, output)
    rows = []
    for method in config.methods:
        rows.append(_row(method, config, pictures, output / "methods" / slug(method.name), tell))
    return Comparison(config, pictures, rows)


def slug(name: str) -> str:
    """A name as a folder's name; names that differ stay different."""
    plain = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
    return plain if plain == name.lower() else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _row(method: Method, config: ComparisonConfig, pictures: StagedPictures, home: Path, tell: Tell) -> Row:
    printed = config.printed(method)
    results = home / "results"
    blank = Row(method, printed, results, steps=method.steps, parameters=method.parameters)
    try:
        made = _made(method, config, pictures, home, tell)
        scores = score(
            results,
            pictures,
            config.protocol,
            config.chosen,
            home / "scores.json",
            lambda done, total: tell(method.name, "scored", done, total),
        )
    except Exception as error:
        log.debug("%s", method.name, exc_info=error)
        why = str(error) if isinstance(error, CCSRError) else f"unexpected {type(error).__name__}: {error}"
        return dataclasses.replace(blank, problem=why)
    return dataclasses.replace(
        blank,
        cost=made.cost,
        steps=method.steps if method.steps is not None else made.steps,
        parameters=method.parameters if method.parameters is not None else made.parameters,
        scores=scores,
        problem=_shortfall(made.failures),
    )


def _shortfall(failures: dict[str, str]) -> str | None:
    if not failures:
        return None
    name, why = next(iter(failures.items()))
    return f"{len(failures)} picture{'' if len(failures) == 1 else 's'} failed, {name}: {why}"


def _made(method: Method, config: ComparisonConfig, pictures: StagedPictures, home: Path, tell: Tell) -> MethodResult:
    """Results on disk, with their cost over this call and earlier ones."""
    runs = method.runs(config.samples)
    settings = {k: v for k, v in dataclasses.asdict(method).items() if k not in ("name", "paper", "source")}
    kind = next(word for word, owner in KINDS.items() if type(method) is owner)
    facts = [kind, settings, runs, config.seed, config.threads, method.identity()]
    fingerprint = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()
    state_file = home / "state.json"
    state: dict[str, Any] = json.loads(state_file.read_text(encoding="utf-8")) if state_file.exists() else {}
    dates = {name: path.stat().st_mtime_ns for name, path in pictures.inputs.items()}
    before = state.get("inputs", {})
    stale = {name for name, date in dates.items() if before.get(name) != date}
    if state.get("fingerprint") != fingerprint or (stale and not method.ONE_BY_ONE):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        state = {"fingerprint": fingerprint}
    for path in home.glob("results/**/*"):
        if path.stem in stale and path.suffix.lower() in SUFFIXES:
            path.unlink()
    # Before the work: what a stopped run leaves belongs to these.
    state["inputs"] = {**before, **dates}
    state_file.write_text(json.dumps(state), encoding="utf-8")
    job = MethodJob(
        pictures.inputs, pictures.sizes, home / "results", home / "scratch", runs, config.seed, config.threads,
        lambda done, total: tell(method.name, "made", done, total),
    )  # fmt: skip
    made = method.make(job)
    made.cost = made.cost.after(Cost(**state["cost"])) if "cost" in state else made.cost
    for fact in ("steps", "parameters"):
        setattr(made, fact, getattr(made, fact) if getattr(made, fact) is not None else state.get(fact))
    _drop_empty(job.results)
    state |= {"cost": dataclasses.asdict(made.cost), "steps": made.steps, "parameters": made.parameters}
    state_file.write_text(json.dumps(state), encoding="utf-8")
    return made


def _drop_empty(results: Path) -> None:
    """Runs without a picture would make all other runs' pictures uncommon."""
    for folder in list(results.iterdir()) if results.is_dir() else []:
        if RUN.fullmatch(folder.name) and not any(folder.iterdir()):
            folder.rmdir()

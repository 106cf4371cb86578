"""The configuration of a comparison: a YAML file, checked whole before anything starts."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ccsr.compare.methods import KINDS, Method
from ccsr.compare.paper_values import PrintedRow, find_row
from ccsr.data.layouts import find_test_set
from ccsr.errors import CCSRError, OptionError
from ccsr.metrics import PROTOCOLS, Metric, Protocol, chosen_metrics


@dataclass(frozen=True)
class ComparisonConfig:
    """What is compared, on which pictures, and how it is measured. Fields are the keys of the file."""

    data: Path | None = None
    """A test set: `test_LR/` and `test_HR/`, `LR/` and `HR/`, or `lq/` and `gt/`."""
    lq: Path | None = None
    gt: Path | None = None
    """The two folders, where they lie apart."""
    data_source: str = ""
    """Where the pictures come from: told where they are not there."""
    dataset: str | None = None
    """RealSR, DrealSR or DIV2K: which of the paper's rows belong to these pictures."""
    title: str = ""
    preset: str = "ccsr"
    metrics: str | list[str] | None = None
    """Names, or the preset's."""
    samples: int = 1
    """Runs of each picture for methods with noise."""
    seed: int = 0
    threads: int | None = None
    limit: int | None = None
    """Only the first pictures, in the order of their names."""
    panels: int | list[str] = 4
    """Pictures shown in the report: how many, or their names."""
    crops: Mapping[str, list[int]] = field(default_factory=dict)
    """Left, top and side of the zoomed square in pictures' ground truth, by name; else where methods differ most."""
    output: Path = Path("comparison")
    methods: list[Method] = field(default_factory=list)

    @property
    def protocol(self) -> Protocol:
        """The preset."""
        return PROTOCOLS[self.preset]

    @property
    def chosen(self) -> list[Metric]:
        """The metrics, in the order asked for."""
        names = ",".join(self.metrics) if isinstance(self.metrics, list) else self.metrics
        return chosen_metrics(self.protocol, names)

    @property
    def folders(self) -> tuple[Path, Path]:
        """Folders of low-quality pictures and of ground truth."""
        if self.data is not None:
            if self.data_source and not self.data.exists():
                raise OptionError("is not there", path=self.data, hint=self.data_source)
            found = find_test_set(self.data)
            return found.lq, found.gt
        if self.lq is None or self.gt is None:
            raise OptionError("no test set is named", hint="data: FOLDER, or lq: FOLDER and gt: FOLDER")
        return self.lq, self.gt

    def printed(self, method: Method) -> PrintedRow | None:
        """The paper's row that a method names."""
        if not method.paper:
            return None
        if not self.dataset:
            raise OptionError(f"{method.name} names a row of the paper", hint="add dataset: RealSR, DrealSR or DIV2K")
        return find_row(method.paper, self.dataset)


def load_config(path: Path) -> ComparisonConfig:
    """Read and check a configuration; paths in it are seen from its folder.

    Raises:
        OptionError: anything that is not understood, or can never work, naming the file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}", path=path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"is no YAML: {' '.join(str(error).split())[:200]}", path=path) from error
    try:
        return _config(content, path.parent)
    except CCSRError as error:
        if error.path is None:
            raise OptionError(error.what, path=path, hint=error.hint) from error
        raise


def _config(content: Any, home: Path) -> ComparisonConfig:
    if not isinstance(content, dict):
        raise OptionError("holds no settings", hint="data: FOLDER, then methods:")
    listed = content.get("methods")
    if not isinstance(listed, list) or not listed:
        raise OptionError("names no methods", hint="methods: a list, each with a name and a kind")
    methods = [_method(entry, home) for entry in listed]
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"two methods are called {name}", hint="names are rows, so they must differ")
    settings = {**content, "methods": methods}
    config: ComparisonConfig = _built(ComparisonConfig, settings, home, ("data", "lq", "gt", "output"), "setting")
    if config.preset not in PROTOCOLS:
        raise OptionError(f"preset is {config.preset!r}", hint=f"choose from {', '.join(PROTOCOLS)}")
    for name in ("samples", "limit", "threads"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise OptionError(f"{name} is {value}", hint="choose 1 or more")
    _ = config.chosen, config.folders
    for method in methods:
        method.check()
        config.printed(method)
    return config


def _method(entry: Any, home: Path) -> Method:
    if not isinstance(entry, dict) or "kind" not in entry:
        raise OptionError(f"a method is no mapping with a kind: {entry!r}", hint=f"kind: {' | '.join(KINDS)}")
    settings = dict(entry)
    kind = settings.pop("kind")
    if kind not in KINDS:
        raise OptionError(f"no kind of method is called {kind!r}{_close(kind, KINDS)}", hint=f"{', '.join(KINDS)}")
    settings.setdefault("name", kind)
    owner = KINDS[kind]
    method: Method = _built(owner, settings, home, owner.PATHS, f"setting of kind {kind}")
    return method


def _built(owner: Any, settings: Mapping[str, Any], home: Path, paths: tuple[str, ...], what: str) -> Any:
    hints = typing.get_type_hints(owner)
    known = [f.name for f in dataclasses.fields(owner)]
    values = {}
    for name, value in settings.items():
        if name not in known:
            raise OptionError(f"no {what} is called {name}{_close(name, known)}", hint=f"there are {', '.join(known)}")
        if name in paths and isinstance(value, str):
            value = home / Path(value).expanduser()
        elif name == "name":
            value = str(value)
        if not _fits(value, hints[name]):
            raise OptionError(f"{name} is {value!r}", hint="that is another kind of value than is needed")
        values[name] = value
    try:
        return owner(**values)
    except TypeError as error:
        lacking = [f.name for f in dataclasses.fields(owner) if _is_needed(f) and f.name not in values]
        raise OptionError(f"{settings.get('name', what)} lacks {', '.join(lacking)}") from error


def _is_needed(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from the file is of a field's type."""
    if hint is Any:
        return True
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in typing.get_args(hint))
    kind = origin or hint
    if isinstance(value, bool):
        return kind is bool
    if not isinstance(value, kind) or (isinstance(value, str) and kind is not str):
        return False
    inside = typing.get_args(hint)
    return origin is not list or all(_fits(item, inside[0]) for item in value)


def _close(word: Any, known: typing.Iterable[str]) -> str:
    close = get_close_matches(str(word), list(known), 1)
    return f", did you mean {close[0]}?" if close else ""

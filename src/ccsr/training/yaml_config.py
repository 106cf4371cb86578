"""From a YAML file and `key=value` words to dataclasses: every key checked, every value of its field's type."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from ccsr.errors import OptionError

T = TypeVar("T")


def read_settings(path: Path, words: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, with `a.b.0.c=value` words (values in YAML, too) laid over it.

    Raises:
        OptionError: no such file, no YAML, or a word without `=`.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise OptionError(
            f"cannot be read: {error.strerror}", path=path, hint="configs/ holds some to begin with"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise OptionError(f"is no YAML: {line}", path=path) from error
    if not isinstance(content, dict):
        raise OptionError("holds no settings by name", path=path)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise OptionError(f"{word} is no setting", hint="write key=value, for instance loop.steps=1000")
        try:
            _put(content, key.split("."), yaml.safe_load(value), key)
        except yaml.YAMLError as error:
            raise OptionError(f"{key} is {value!r}, which is no YAML") from error
    return content


def _put(place: Any, names: Sequence[str], value: Any, key: str) -> None:
    for i, name in enumerate(names):
        last = i + 1 == len(names)
        if isinstance(place, list):
            if not name.isdigit() or int(name) >= len(place):
                raise OptionError(
                    f"{key}: there are {len(place)} entries in {'.'.join(names[:i])}", hint="count from 0"
                )
            index: Any = int(name)
        else:
            index = name
            if not last and not isinstance(place.get(name), (dict, list)):
                place[name] = {}
        if last:
            place[index] = value
        else:
            if isinstance(place, list) and not isinstance(place[index], (dict, list)):
                place[index] = {}
            place = place[index]


def apply(default: T, given: Mapping[str, Any], prefix: str = "") -> T:
    """`default`, a dataclass, with the values of a mapping.

    Raises:
        OptionError: a key that it has not, with the nearest that it has, or a value of the wrong kind.
    """
    hints = typing.get_type_hints(type(default))
    changed = {}
    for key, value in given.items():
        if key not in hints:
            close = get_close_matches(str(key), hints, 1)
            known = f"choose from {', '.join(hints)}"
            hint = f"did you mean {prefix}{close[0]}?" if close else known
            raise OptionError(f"no setting is called {prefix}{key}", hint=hint)
        changed[key] = _converted(value, hints[key], getattr(default, key), f"{prefix}{key}")
    return dataclasses.replace(default, **changed)  # type: ignore[type-var]


def _converted(value: Any, kind: Any, default: Any, name: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _converted(value, next(k for k in inner if k is not type(None)), default, name)
    if origin is Literal:
        if value not in inner:
            close = get_close_matches(str(value), map(str, inner), 1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise OptionError(f"{name} is {value!r}", hint=f"{meant}choose from {', '.join(map(str, inner))}")
        return value
    if origin is tuple:
        values = value if isinstance(value, (list, tuple)) else [value]
        if inner[-1] is Ellipsis:
            return tuple(_converted(v, inner[0], None, f"{name}.{i}") for i, v in enumerate(values))
        if len(values) != len(inner):
            raise OptionError(f"{name} is {value!r}", hint=f"{len(inner)} values are needed")
        return tuple(_converted(v, k, None, f"{name}.{i}") for i, (v, k) in enumerate(zip(values, inner, strict=True)))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        start = default if isinstance(default, kind) else kind()
        if isinstance(value, str) and hasattr(kind, "folder"):  # a source of pictures, said shortly
            return apply(start, {"folder": value}, f"{name}.")
        if not isinstance(value, Mapping):
            raise OptionError(f"{name} is {value!r}", hint="it has settings of its own")
        return apply(start, value, f"{name}.")
    return _scalar(value, kind, name)


def _scalar(value: Any, kind: Any, name: str) -> Any:
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind, "settings")
    wrong = OptionError(f"{name} is {value!r}", hint=f"{expected} is needed")
    if kind is bool or isinstance(value, bool):
        if not (kind is bool and isinstance(value, bool)):
            raise wrong
        return value
    if kind is str:
        if isinstance(value, (Mapping, list)) or value is None:
            raise wrong
        return str(value)
    if kind is int and isinstance(value, int):
        return value
    try:
        # YAML takes 5e-5 for a text, since it has no dot.
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong from error
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        raise wrong
    return int(number) if kind is int else number


def plain(config: Any) -> Any:
    """A dataclass as mappings, lists and scalars, ready for YAML."""
    if dataclasses.is_dataclass(config):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return [plain(v) for v in config] if isinstance(config, tuple) else config


def as_yaml(config: Any) -> str:
    """A dataclass as a YAML text that `read_settings` takes."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=120)


def _same(a: Any, b: Any) -> bool:
    """Equal, where a setting that an earlier version did not know yet counts as one that is not given."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(_same(a.get(key), b.get(key)) for key in {*a, *b})
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def differences(config: Any, other: Mapping[str, Any], free: frozenset[str], prefix: str = "") -> list[str]:
    """Keys whose values differ between a config and a mapping made from an earlier one, but for those in `free`."""
    mine = plain(config) if not isinstance(config, Mapping) else config
    found = []
    for key in dict.fromkeys([*mine, *other]):
        name = f"{prefix}{key}"
        a, b = mine.get(key), other.get(key)
        if name in free or _same(a, b):
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, free, f"{name}.")
        else:
            found.append(name)
    return found

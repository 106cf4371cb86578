"""Generated documentation is what the code says now, and the reference names what is there."""

import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")  # put back afterwards, as the generator sets its own
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: run python docs/generate.py"


def test_the_reference_names_what_exists() -> None:
    names = re.findall(r"^::: (\S+)$", (DOCS / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) > 10
    for name in names:
        assert pkgutil.resolve_name(name)


def test_the_map_names_what_exists() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    source = DOCS.parent / "src" / "ccsr"
    paths = set(re.findall(r"`(\w+/\w+\.py)`", text)) - {"docs/layers.py"}
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (source / path).is_file()] == []
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    parts = {part for row in rows for part in re.findall(r"`(\w+)`", row)}
    tops = {path.stem for path in source.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert tops - parts == {"__init__", "__main__", "sampler", "timesteps"}, "the table of parts is complete"
    assert parts <= tops

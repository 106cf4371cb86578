"""Generated documentation is what the code says now."""

import importlib.util
import re
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[2] / "docs" / "generate.py"


def test_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")  # put back afterwards, as the generator sets its own
    spec = importlib.util.spec_from_file_location("generate", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: run python docs/generate.py"


def test_the_map_names_what_exists() -> None:
    text = (GENERATOR.parent / "architecture.md").read_text(encoding="utf-8")
    source = GENERATOR.parents[1] / "src" / "ccsr"
    paths = set(re.findall(r"`(\w+/\w+\.py)`", text)) - {"docs/layers.py"}
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (source / path).is_file()] == []
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    parts = {part for row in rows for part in re.findall(r"`(\w+)`", row)}
    tops = {path.stem for path in source.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert tops - parts == {"__init__", "__main__", "sampler", "timesteps"}, "the table of parts is complete"
    assert parts <= tops

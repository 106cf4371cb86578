"""The load benchmark in small: everybody is answered rightly, nothing is left, and memory does not grow."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason='the extra "serve" is not installed')
pytest.importorskip("httpx2", reason="httpx2 is not installed")

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serve_load.py"


def test_many_clients_at_once() -> None:
    spec = importlib.util.spec_from_file_location("serve_load", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    figures = benchmark.main(6, 5)
    assert figures["pictures"] == 30
    assert figures["left_waiting"] == 0
    # The first tenth of the work has met every buffer.
    assert max(figures["memory_mb"]) - figures["memory_mb"][0] < 60

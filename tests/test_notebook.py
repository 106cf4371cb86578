"""The notebook runs from top to bottom on a CPU, in a kernel of its own."""

import os
import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

import nbformat  # noqa: E402 -- comes with nbclient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "tour.ipynb"


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CCSR_OFFLINE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    )
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "stored without outputs"
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "(999,)" in printed
    assert "mean deviation" in printed
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 3
    # What it says of a bound result, and that nano is nearer to the original than bicubic is.
    largest = {share: int(number) for share, number in re.findall(r"consistency=(\d): .* at most (\d+) of", printed)}
    assert largest["1"] <= 2 < largest["0"]
    distance = {name.strip(): float(d) for name, d in re.findall(r"(bicubic|ccsr nano) .* distance ([\d.]+)", printed)}
    assert distance["ccsr nano"] < distance["bicubic"]

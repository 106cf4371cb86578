"""`ccsr verify`: its lines and exit codes, on the recorded cases that come with the tests."""

import json
import shutil
from pathlib import Path

import pytest

from ccsr.cli.main import main

RECORDED = Path(__file__).parents[1] / "golden" / "parity"


@pytest.fixture
def one_case(tmp_path: Path) -> Path:
    """A recording cut down to its first case."""
    if not (RECORDED / "cases.json").is_file():
        pytest.skip("no recorded cases beside the tests")
    record = json.loads((RECORDED / "cases.json").read_text())
    shutil.copytree(RECORDED / "inputs", tmp_path / "inputs")
    (tmp_path / "cases").mkdir()
    record["cases"] = record["cases"][:1]
    name = record["cases"][0]["name"]
    for file in (RECORDED / "cases").glob(f"{name}.*"):
        shutil.copy(file, tmp_path / "cases")
    (tmp_path / "cases.json").write_text(json.dumps(record))
    return tmp_path


def test_a_case_that_agrees(one_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(one_case)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("ok   ")
    assert captured.err == "1 of 1 cases within 0.001\n"


def test_a_case_that_differs(one_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    (file,) = (one_case / "cases").glob("*.safetensors")
    tensors = load_file(file)
    name = next(n for n in tensors if "decoded" in n)
    tensors[name] = tensors[name] + 0.01 * tensors[name].float().std().to(tensors[name].dtype)
    save_file(tensors, file)
    assert main(["verify", str(one_case)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("FAIL ")
    assert name in captured.out

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
    assert captured.err == "1 of 1 cases within 0.0001\n"


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


def test_the_help_names_the_bound() -> None:
    from ccsr.cli.verify import LIMIT
    from ccsr.verify import BOUND

    assert LIMIT == BOUND


def test_a_case_that_cannot_be_replayed_is_its_own_line(one_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown field, a draw that is not there, a file that is not: the case after them is still told."""
    from safetensors.torch import load_file, save_file

    record = json.loads((one_case / "cases.json").read_text())
    (good,) = record["cases"]
    (file,) = (one_case / "cases").glob("*.safetensors")
    lacking = {key: tensor for key, tensor in load_file(file).items() if key != "draw.start"}
    save_file(lacking, one_case / "cases" / "lacking.safetensors")
    record["cases"] = [good | {"vae_tile": 64}, good | {"name": "lacking"}, good | {"name": "gone"}, good]
    (one_case / "cases.json").write_text(json.dumps(record))
    assert main(["verify", str(one_case)]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == f"FAIL {good['name']}: its vae_tile is not known here (a newer version may replay it)"
    assert lines[1] == "FAIL lacking: draw.start is not recorded"
    assert lines[2].startswith("FAIL gone: ")
    assert "the recorded case cannot be read" in lines[2]
    assert lines[3].startswith(f"ok   {good['name']}: ")
    assert captured.err == "1 of 4 cases within 0.0001\n"


def test_a_recorded_tensor_without_a_counterpart_is_no_pass(one_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    (file,) = (one_case / "cases").glob("*.safetensors")
    tensors = load_file(file)
    save_file(tensors | {"eval7.z": tensors["eval0.z"].clone()}, file)
    assert main(["verify", str(one_case)]) == 1
    assert "nothing to compare with the recorded eval7.z" in capsys.readouterr().out


def test_an_unknown_format_is_one_line(one_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((one_case / "cases.json").read_text())
    (one_case / "cases.json").write_text(json.dumps(record | {"format": 3}))
    assert main(["verify", str(one_case)]) == 2
    assert "cases.json has format 3 of program v2" in capsys.readouterr().err


def test_a_final_picture_of_other_colours_fails(one_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One value of the recorded picture moved by a level: what follows from the recorded decoded picture is exact."""
    import numpy as np
    from PIL import Image

    (file,) = (one_case / "cases").glob("*.final.png")
    levels = np.array(Image.open(file))
    levels[3, 5, 1] += 1 if levels[3, 5, 1] < 255 else -1
    Image.fromarray(levels).save(file)
    assert main(["verify", str(one_case)]) == 1
    assert "colours and size of the recorded decoded picture: 0.0036% of its values differ" in capsys.readouterr().out

"""Every recorded case of the published program, through the functions that upscaling uses."""

from pathlib import Path

import pytest

from ccsr.errors import WeightsError
from ccsr.verify import BOUND, CaseResult, replay
from conftest import GOLDEN


@pytest.fixture(scope="module")
def results() -> list[CaseResult]:
    return list(replay(GOLDEN))


def test_all_cases_are_there(results: list[CaseResult]) -> None:
    assert len(results) == 16


def test_tensors_and_pictures(results: list[CaseResult]) -> None:
    assert BOUND == 1e-4
    assert not [r for r in results if not r.passed or not r.largest_error <= BOUND or r.fault]


def test_a_folder_without_cases_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no readable cases.json \(give a folder of recorded values\)"):
        list(replay(tmp_path))


def test_a_wrong_recording_fails(tmp_path: Path) -> None:
    """Changing one recorded draw must show: otherwise the replay compares nothing."""
    import json
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(GOLDEN, tmp_path / "parity")
    record = json.loads((GOLDEN / "cases.json").read_text())
    record["cases"] = record["cases"][:1]
    (tmp_path / "parity" / "cases.json").write_text(json.dumps(record))
    path = tmp_path / "parity" / "cases" / "s1.safetensors"
    tensors = load_file(path)
    tensors["draw.start"] = tensors["draw.start"] * 1.01
    save_file(tensors, path)
    (result,) = replay(tmp_path / "parity")
    assert not result.passed


@pytest.mark.slow
def test_published_sizes(shared: Path) -> None:
    """The full 1.3 billion parameters, one case: about a minute and 6 GB."""
    (result,) = replay(shared / "parity-full")
    assert result.passed, result


@pytest.mark.slow
def test_the_first_program(shared: Path) -> None:
    """Its checkpoint is made, packed and loaded; two pictures of 576x512, of 16 and 6 evaluations."""
    results = list(replay(shared / "parity-v1"))
    assert [r.name for r in results] == ["a", "b"]
    assert all(r.passed and r.picture_levels <= 1 for r in results), results

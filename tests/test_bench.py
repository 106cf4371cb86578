"""`ccsr bench` in process, on the tiny model."""

import json
import re
from pathlib import Path

import pytest
import torch

from ccsr.bench import PHASES, random_weights
from ccsr.cli.main import main
from ccsr.networks import NANO, make_network
from ccsr.weights import describe
from helpers import write_picture


def test_the_table(tiny: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(Path("photo.png"))
    assert main(["bench", "photo.png", "--model", tiny, "--runs", "2", "--dtype", "fp32", "--scale", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny, 12x8 to 24x16, cpu, fp32, ")
    assert [line.split()[0] for line in lines[2:9]] == [*PHASES, "in"]
    assert re.match(r"peak memory \d+\.\d+ GB", lines[9])
    assert [path.name for path in desk.iterdir()] == ["photo.png"], "nothing is kept"


def test_json(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--size", "20x10", "--model", tiny, "--runs", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["input_width"], found["input_height"], found["output_width"]) == (20, 10, 80)
    for kind in ("cold", "warm"):
        assert set(found[kind]) == set(PHASES)
        assert found[f"{kind}_seconds"] == pytest.approx(sum(found[kind].values()))
        assert all(found[kind][phase] > 0 for phase in PHASES)
    assert found["cold"]["load"] > found["warm"]["load"], "only the first loads the model"
    assert 1e8 < found["peak_memory_bytes"] < 1e11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "0x4"], "error: --size is '0x4' (for instance 128x96)"),
        (["--runs", "0"], "error: --runs is '0' (a whole number from 1 to 9999 is needed)"),
        (["--random-weights", "sd3"], "error: --random-weights is 'sd3' (choose nano or sd21)"),
        (["a.png", "b.png"], "error: one picture is enough, 2 given"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert capsys.readouterr().err.strip() == message


def test_random_weights_are_a_whole_model() -> None:
    with random_weights("nano", "bf16") as folder:
        found = describe(folder)
        with torch.device("meta"):
            real = {part: make_network(part, NANO).state_dict() for part in found.parameters}
        assert found.parameters == {part: sum(t.numel() for t in tensors.values()) for part, tensors in real.items()}
        assert found.flops_per_pixel["denoise"] > 0
    assert not folder.exists()

"""`ccsr models`, on a packed model."""

import json
from pathlib import Path

import pytest

from ccsr.cli.main import main


def test_info_tells_source_and_licence(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", tiny]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in ("name:             tiny", "source:           random numbers", "licence:          CC0-1.0",
                 "min size:         none", "embeddings:       positive"):  # fmt: skip
        assert line in lines
    assert main(["models", "info", tiny, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["licence"], facts["prediction_type"]) == ("packed", "CC0-1.0", "v_prediction")


def test_pack_keeps_what_is_not_said_anew_and_verify_finds_a_changed_file(
    desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pack", tiny, "-o", "packed", "--dtype", "fp32", "--name", "mine"]) == 0
    assert main(["models", "info", "packed", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["source"], facts["licence"]) == ("mine", "random numbers", "CC0-1.0")
    assert main(["models", "verify", "packed"]) == 0
    capsys.readouterr()
    weights = Path("packed/vae/diffusion_pytorch_model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert main(["models", "verify", "packed"]) == 1
    assert capsys.readouterr().err.startswith("error: packed: vae/diffusion_pytorch_model.safetensors")
    assert main(["models", "pack", tiny, "-o", "packed"]) == 2


def test_list_names_the_embedded_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    assert "nano" in [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]


def test_mix_takes_models_with_their_shares(desk: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pack", tiny, "-o", "again"]) == 0
    assert main(["models", "mix", f"{tiny}=0.4", "again=0.6", "-o", "mixed"]) == 0
    assert main(["models", "verify", "mixed"]) == 0
    capsys.readouterr()
    for words, told in (
        ([f"{tiny}=0.4"], "two models are needed"),
        ([tiny, "again"], "is no model with its share"),
        ([f"{tiny}=0.4", "again=0.4"], "the shares sum to 0.8"),
    ):
        assert main(["models", "mix", *words, "-o", "other"]) == 2
        assert told in capsys.readouterr().err

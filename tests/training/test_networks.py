"""What training starts from, and what it packs."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ccsr.errors import OptionError
from ccsr.networks import LatentControlNet
from ccsr.training.config import Config, ModelConfig
from ccsr.training.networks import pack, start_networks
from ccsr.training.run import train
from ccsr.weights import describe, load_model


@pytest.fixture
def base(tiny: str, tmp_path: Path) -> Path:
    """A base model alone, as Stable Diffusion is published, its embeddings stored beside it."""
    folder = tmp_path / "base"
    for part in ("unet", "vae", "scheduler"):
        shutil.copytree(Path(tiny) / part, folder / part)
    shutil.copy(Path(tiny) / "embeddings.safetensors", folder)
    return folder


def test_a_controlnet_for_a_base_begins_without_a_say(base: Path) -> None:
    """Zero convolutions: the first output is the UNet's own."""
    made = start_networks(ModelConfig(base=str(base), fresh=("controlnet",), prompt="positive"), seed=0)
    z_t, z_lq = torch.randn(2, 1, 4, 8, 8)
    with torch.no_grad():
        together = made.denoiser(z_t, 7, z_lq)
        alone = made.denoiser.unet(z_t, 7, encoder_hidden_states=made.denoiser.prompt).sample
    torch.testing.assert_close(together, alone)
    state = made.denoiser.unet.conv_in.state_dict()
    assert all(torch.equal(made.denoiser.controlnet.conv_in.state_dict()[n], t) for n, t in state.items())


def test_a_base_alone_needs_a_fresh_controlnet(base: Path) -> None:
    with pytest.raises(OptionError, match=r"is a base model without a ControlNet \(model.fresh=\[controlnet\]"):
        start_networks(ModelConfig(base=str(base)), seed=0)


def test_from_nothing_the_control_path_is_open() -> None:
    made, again, other = (start_networks(ModelConfig(architecture="nano"), seed=s) for s in (0, 0, 1))
    out = [m.denoiser.controlnet.features_out.weight for m in (made, again, other)]
    assert float(out[0].detach().abs().max()) > 0
    assert torch.equal(out[0], out[1])
    assert not torch.equal(out[0], out[2])


def test_what_is_packed_loads_as_what_was_trained(tiny: str, tmp_path: Path) -> None:
    config = ModelConfig(
        base=tiny, trained=("prompt",), prompt="positive", name="mine", licence="CC0-1.0", dtype="fp32"
    )
    made = start_networks(config, seed=0)
    made.denoiser.prompt.data += 1
    for _ in range(2):  # an earlier model gives way
        pack(made, config, tmp_path / "run" / "model", "trained in a test")
    model = load_model(tmp_path / "run" / "model")
    assert torch.equal(model.embeddings["positive"], made.denoiser.prompt.detach())
    assert set(model.embeddings) == {"positive"}
    facts = describe(tmp_path / "run" / "model")
    theirs = describe(tiny)
    assert (facts.name, facts.licence) == ("mine", "CC0-1.0")
    assert facts.source == f"trained in a test, from {theirs.name} (sha256 {theirs.sha256[:12]})"
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "run").rglob("*.json"))
    for fact in ("color_fix", "min_size", "min_scale", "useful_steps"):
        assert getattr(facts, fact) == getattr(theirs, fact)
    assert json.loads((tmp_path / "run" / "model" / "scheduler" / "scheduler_config.json").read_text()) == json.loads(
        (Path(tiny) / "scheduler" / "scheduler_config.json").read_text()
    )
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["model"]


def test_training_does_not_touch_the_base(tiny: str) -> None:
    """Weights are mapped from the file; what learns is a copy."""
    file = Path(tiny) / "unet" / "diffusion_pytorch_model.safetensors"
    before = file.read_bytes()
    made = start_networks(ModelConfig(base=tiny, prompt="positive"), seed=0)
    for p in made.denoiser.parameters():
        p.data += 1
    assert file.read_bytes() == before


def test_names_on_disk_stay(tiny: str, quick: Callable[..., Config], tmp_path: Path) -> None:
    """What a run or a model folder of an earlier version holds is found under the same names."""
    index = json.loads((Path(tiny) / "model_index.json").read_text())
    assert index["controlnet"] == ["ccsr.networks.controlnet", "LatentControlNet"]
    assert getattr(import_module(index["controlnet"][0]), index["controlnet"][1]) is LatentControlNet
    assert (index["unet"], index["vae"]) == (["diffusers", "UNet2DConditionModel"], ["diffusers", "AutoencoderKL"])
    train(quick("stage2", tmp_path, "loop.steps=2"))
    last = tmp_path / "checkpoints" / "step-00000002"
    assert {file.name for file in last.iterdir()} == {
        "weights.safetensors", "average.safetensors", "optimizer.safetensors", "state.json",
    }  # fmt: skip
    assert {name.split("/")[0] for name in load_file(last / "weights.safetensors")} == {"decoder", "critic"}
    assert any(name.startswith("decoder.conv_out") for name in load_file(last / "average.safetensors"))
    assert {"step", "seconds", "skipped", "averaged", "scales"} <= set(json.loads((last / "state.json").read_text()))
    kept = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert set(kept) == {"run", "recipe", "model", "data", "validation", "loss", "loop"}
    assert {"steps", "learning_rate", "schedule", "ema", "precision", "save_every"} <= set(kept["loop"])
    assert {"sources", "crop", "batch", "region", "per_region", "degradation"} <= set(kept["data"])


def test_an_opened_gate_lets_the_decoder_draw_everywhere_and_stays_open(tiny: str, tiny_compact: str) -> None:
    made, shut = (start_networks(ModelConfig(base=tiny_compact, open_gate=o), seed=0).vae for o in (True, False))
    z = torch.randn(1, made.config.latent_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = []
    for vae in (made, shut):
        torch.nn.init.constant_(vae.decoder.conv_out.bias, 0.5)
        with_it = vae.decode(z).sample
        torch.nn.init.constant_(vae.decoder.conv_out.bias, 0.0)
        drawn.append(float((with_it - vae.decode(z).sample).mean()))
    assert drawn[0] == pytest.approx(0.5, abs=0.02)
    assert drawn[1] < drawn[0]
    made.requires_grad_(True).decode(z).sample.square().mean().backward()
    assert not made.decoder.gate.weight.grad.any()
    assert not made.decoder.gate.bias.grad.any()
    with pytest.raises(OptionError, match="has no gate"):
        start_networks(ModelConfig(base=tiny, open_gate=True), seed=0)
    with pytest.raises(OptionError, match="a new one's gate is fitted to its pictures"):
        start_networks(ModelConfig(base=tiny_compact, fresh=("vae",), open_gate=True), seed=0)

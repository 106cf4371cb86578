"""Descriptions agree with what torch and diffusers say of the same files, without either being imported."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ccsr.errors import WeightsError
from ccsr.networks import NANO, SD21, latent_factor, make_network
from ccsr.weights import describe, list_models
from ccsr.weights.cost import flops_per_pixel

from .conftest import Networks


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_published_folder(write_published: Any, networks: Networks, suffix: str) -> None:
    own, base = write_published(suffix)
    found = describe(str(own), str(base))
    assert (found.name, found.kind, found.color_fix) == ("published", "published_v2", "adain")
    assert found.parameters == {n: sum(p.numel() for p in net.parameters()) for n, net in networks.items()}
    assert found.embeddings == ("empty", "positive", "negative")
    assert found.latent_factor == latent_factor(networks["vae"])
    assert found.prediction_type == "epsilon"
    assert found.min_size == 16


def test_packed_folder(packed: Path, networks: Networks) -> None:
    found = describe(str(packed))
    assert (found.name, found.kind, found.source, found.licence) == ("packed", "packed", "made in a test", "CC0-1.0")
    assert found.parameters == {n: sum(p.numel() for p in net.parameters()) for n, net in networks.items()}
    assert found.config["min_size"] == found.min_size == 16


def test_hash_follows_the_files_with_and_without_a_manifest(packed: Path) -> None:
    with_manifest = describe(packed).sha256
    (packed / "manifest.json").unlink()
    assert describe(packed).sha256 == with_manifest
    index = packed / "model_index.json"
    index.write_text(index.read_text().replace("adain", "wavelet"))
    assert describe(packed).sha256 != with_manifest


def test_neither_torch_nor_diffusers_is_imported(packed: Path) -> None:
    program = (
        "import sys; from ccsr.weights import describe, list_models, verify_model\n"
        f"print(describe({str(packed)!r}).parameters['unet'], verify_model({str(packed)!r}), len(list_models()))\n"
        "print([m for m in ('torch', 'diffusers', 'numpy', 'safetensors', 'huggingface_hub') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("color_fix", "wavlet"),
        ("min_size", -1),
        ("min_size", "512"),
        ("min_scale", 0.5),
        ("min_scale", True),
        ("useful_steps", 0),
    ],
)
def test_index_values_that_make_no_sense(packed: Path, key: str, value: Any) -> None:
    index = packed / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {key: value}))
    with pytest.raises(WeightsError, match="makes no sense"):
        describe(packed)


def test_list_holds_the_models_that_can_be_read(packed: Path, tmp_path: Path, caplog: Any) -> None:
    shelf = tmp_path / "home" / "models"
    shelf.mkdir(parents=True)
    packed.rename(shelf / "mine")
    (shelf / "broken").mkdir()
    (shelf / "broken" / "model_index.json").write_text("{}")
    names = [model.folder.name for model in list_models()]
    assert "mine" in names
    assert "broken" not in names
    assert "broken" in caplog.text


@pytest.mark.parametrize("config", [NANO, SD21], ids=["nano", "sd21"])
def test_operations_agree_with_torchs_counter(config: dict[str, Any]) -> None:
    """On the meta device, at the output size for which attention is counted."""
    side = 512
    with torch.device("meta"):
        unet, controlnet, vae = (make_network(part, config) for part in ("unet", "controlnet", "vae"))
        text = unet.config.cross_attention_dim
        factor = latent_factor(vae)
        shuffle = factor // 2 ** (len(vae.config.block_out_channels) - 1)
        z, prompt = torch.empty(1, vae.config.latent_channels, side // factor, side // factor), torch.empty(1, 77, text)
        picture = torch.empty(1, vae.config.in_channels, side // shuffle, side // shuffle)
        t = torch.tensor([999])
        counted = {}
        for name, run in (
            ("encode", lambda: vae.encode(picture)),
            ("decode", lambda: vae.decode(z)),
            ("unet", lambda: unet(z, t, prompt)),
            ("controlnet", lambda: controlnet(z, t, prompt, controlnet_cond=z)),
        ):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                run()
            counted[name] = counter.get_total_flops() / side**2
    networks = {"unet": unet, "controlnet": controlnet, "vae": vae}
    shapes = {name: {n: tuple(t.shape) for n, t in network.state_dict().items()} for name, network in networks.items()}
    found = flops_per_pixel(shapes, unet.config, vae.config)
    counted["denoise"] = counted.pop("unet") + counted.pop("controlnet")
    print(found, counted)
    for name in counted:
        assert found[name] == pytest.approx(counted[name], rel=0.1), name

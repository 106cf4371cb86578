"""The first program's one-file checkpoint: small networks under its names, packed, compute what they did before.

The names here are the table of ccsr-spec 4.2, spelt out for two levels of two blocks.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import conv2d

from ccsr.cli.main import main
from ccsr.errors import WeightsError
from ccsr.networks import denoise
from ccsr.weights import load_model, pack

RESIDUAL = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
            "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
BLOCKS = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0", "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.resnets.1": "input_blocks.2.0", "down_blocks.0.attentions.1": "input_blocks.2.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.resnets.0": "input_blocks.4.0", "down_blocks.1.resnets.1": "input_blocks.5.0",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0", "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.resnets.2": "output_blocks.2.0", "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
    "up_blocks.1.resnets.0": "output_blocks.3.0", "up_blocks.1.attentions.0": "output_blocks.3.1",
    "up_blocks.1.resnets.1": "output_blocks.4.0", "up_blocks.1.attentions.1": "output_blocks.4.1",
    "up_blocks.1.resnets.2": "output_blocks.5.0", "up_blocks.1.attentions.2": "output_blocks.5.1",
    "conv_norm_out": "out.0", "conv_out": "out.2", "controlnet_mid_block": "middle_block_out.0",
    **{f"controlnet_down_blocks.{k}": f"zero_convs.{k}.0" for k in range(6)},
}  # fmt: skip
VAE_BLOCKS = {
    "encoder.down_blocks.0.resnets.0": "encoder.down.0.block.0",
    "encoder.down_blocks.0.downsamplers.0.conv": "encoder.down.0.downsample.conv",
    "encoder.down_blocks.1.resnets.0": "encoder.down.1.block.0",
    **{f"decoder.up_blocks.{i}.resnets.{j}": f"decoder.up.{1 - i}.block.{j}" for i in range(2) for j in range(2)},
    "decoder.up_blocks.0.upsamplers.0.conv": "decoder.up.1.upsample.conv",
    **{f"{side}.mid_block.resnets.{j}": f"{side}.mid.block_{j + 1}" for side in ("encoder", "decoder") for j in (0, 1)},
    **{f"{side}.mid_block.attentions.0": f"{side}.mid.attn_1" for side in ("encoder", "decoder")},
    **{f"{side}.conv_norm_out": f"{side}.norm_out" for side in ("encoder", "decoder")},
    **{name: name for name in ("encoder.conv_in", "encoder.conv_out", "decoder.conv_in", "decoder.conv_out",
                               "quant_conv", "post_quant_conv")},
}  # fmt: skip
VAE_PARTS = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
             "conv_shortcut": "nin_shortcut"}  # fmt: skip


def first_name(name: str, blocks: dict[str, str], parts: dict[str, str]) -> str:
    block = max((b for b in blocks if name.startswith(b + ".")), key=len)
    rest = name[len(block) + 1 :]
    for new, old in parts.items():
        rest = re.sub(rf"^{re.escape(new)}\.", f"{old}.", rest)
    return f"{blocks[block]}.{rest}"


@pytest.fixture
def checkpoint(networks: dict[str, Any]) -> dict[str, torch.Tensor]:
    found = {}
    for part, prefix in (("unet", "model.diffusion_model"), ("controlnet", "control_model")):
        for name, tensor in networks[part].state_dict().items():
            if not name.startswith("condition_conv_in"):
                found[f"{prefix}.{first_name(name, BLOCKS, RESIDUAL)}"] = tensor.clone()
    weights = networks["controlnet"].state_dict()
    first = "control_model.input_blocks.0.0"
    # One convolution over both, its bias the sum of the two (ccsr-spec 4.3).
    found[f"{first}.weight"] = torch.cat([weights["conv_in.weight"], weights["condition_conv_in.weight"]], dim=1)
    found[f"{first}.bias"] = weights["conv_in.bias"] + weights["condition_conv_in.bias"]
    for name, tensor in networks["vae"].state_dict().items():
        old = first_name(name, VAE_BLOCKS, VAE_PARTS)
        tensor = tensor[:, :, None, None] if ".attn_1." in old and tensor.ndim == 2 else tensor
        found[f"first_stage_model.{old}"] = tensor.clone()
        if old.startswith(("encoder.", "quant_conv.")):
            found[f"cond_encoder.{old}"] = tensor.clone()
    found["betas"] = torch.zeros(1000)
    found["cond_stage_model.model.ln_final.weight"] = torch.ones(4)
    found["decoder_loss.logvar"] = torch.zeros(())
    return found


@pytest.fixture
def base(published: tuple[Path, Path], embeddings: dict[str, torch.Tensor]) -> Path:
    save_file(embeddings, published[1] / "embeddings.safetensors")
    return published[1]


@pytest.mark.parametrize("kind", ["safetensors", "half", "ckpt", "wrapped"])
def test_packed_it_computes_what_its_networks_did(
    checkpoint: dict[str, torch.Tensor], networks: dict[str, Any], base: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"real-world_ccsr.{'safetensors' if kind in ('safetensors', 'half') else 'ckpt'}"
    if kind == "half":  # as people pass it on: every tensor in fp16
        checkpoint = {name: tensor.half() for name, tensor in checkpoint.items()}
        for network in networks.values():
            network.half().float()
    if kind in ("safetensors", "half"):
        save_file(checkpoint, path)
    elif kind == "ckpt":
        torch.save(checkpoint, path)
    else:
        torch.save({"state_dict": {f"module.{name}": t for name, t in checkpoint.items()}, "epoch": 3}, path)
    pack(path, tmp_path / "v1", dtype="fp32", base_model=base, source_text="made in a test", licence="CC0-1.0")
    model = load_model(tmp_path / "v1")
    assert model.description.min_size == 512
    for part in ("unet", "vae"):
        theirs, ours = networks[part].state_dict(), getattr(model, part).state_dict()
        assert list(theirs) == list(ours)
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    draw = torch.Generator().manual_seed(3)
    z_t, z_lq = torch.randn(2, 1, 4, 8, 8, generator=draw)
    embedding = torch.randn(1, 7, 24, generator=draw)
    expected = denoise(networks["unet"], networks["controlnet"], z_t, 500, z_lq, embedding)
    torch.testing.assert_close(denoise(model.unet, model.controlnet, z_t, 500, z_lq, embedding), expected, rtol=1e-4,
                               atol=1e-4)  # fmt: skip
    first = "control_model.input_blocks.0.0"
    weight, bias = (checkpoint[f"{first}.{end}"].float() for end in ("weight", "bias"))
    joined = conv2d(torch.cat([z_t, z_lq], dim=1), weight, bias, padding=1)
    halves = model.controlnet.conv_in(z_t) + model.controlnet.condition_conv_in(z_lq)
    torch.testing.assert_close(halves, joined, rtol=1e-4, atol=1e-4)


def test_the_command_and_the_setting(
    checkpoint: dict[str, torch.Tensor], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    save_file(checkpoint, tmp_path / "v1.safetensors")
    words = ["models", "pack", str(tmp_path / "v1.safetensors"), "-o", str(tmp_path / "v1")]
    assert main(words) == 2
    assert "a checkpoint of the first program needs its base model (--base-model names it)" in capsys.readouterr().err
    monkeypatch.setenv("CCSR_BASE_MODEL", f"{tmp_path / 'gone'}, {base}")
    assert main(words) == 0
    load_model(tmp_path / "v1")


def test_a_base_with_its_folders_in_other_letters_of_case(
    checkpoint: dict[str, torch.Tensor], base: Path, tmp_path: Path
) -> None:
    for part in ("unet", "vae", "scheduler"):
        (base / part).rename(base / f"{part}-")  # in two steps, for file systems that do not tell the cases apart
        (base / f"{part}-").rename(base / part.upper())
    save_file(checkpoint, tmp_path / "v1.safetensors")
    pack(tmp_path / "v1.safetensors", tmp_path / "v1", base_model=base, source_text="made in a test", licence="CC0-1.0")
    load_model(tmp_path / "v1")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda c: [c.pop(n) for n in list(c) if n.startswith("control_model")], "it has no control_model"),
        (lambda c: c.pop("model.diffusion_model.out.2.bias"), "tensors 1 missing: conv_out.bias"),
        (lambda c: c.update({"control_model.zero_convs.9.0.bias": torch.zeros(1)}), "1 unexpected: controlnet_down_bl"),
        (lambda c: c.update({"cond_encoder.quant_conv.bias": torch.ones(8)}), "is not the VAE's own"),
        (
            lambda c: c.update({"control_model.input_blocks.0.0.weight": torch.zeros(16, 3, 3, 3)}),
            "over latent and hin",
        ),
        (lambda c: c.update({"first_stage_model.decoder.conv_in.weight": torch.zeros(1)}), "of wrong shape"),
    ],
)
def test_what_does_not_fit_is_one_line(
    checkpoint: dict[str, torch.Tensor], base: Path, tmp_path: Path, change: Any, line: str
) -> None:
    change(checkpoint)
    save_file(checkpoint, tmp_path / "v1.safetensors")
    with pytest.raises(WeightsError, match=line) as caught:
        pack(tmp_path / "v1.safetensors", tmp_path / "out", base_model=base, source_text="", licence="")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_base_model_in_several_places(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ccsr.weights.manifest import file_sha256
    from ccsr.weights.registry import find_base_model

    monkeypatch.setenv("CCSR_OFFLINE", "1")
    assert find_base_model(f"someone/gone@abc, {tmp_path / 'none'}, {base}") == base
    with pytest.raises(
        WeightsError, match=r"the base model is in none of 2 places: someone/gone is neither .*; no model"
    ):
        find_base_model(f"someone/gone, {tmp_path / 'none'}")
    digest = file_sha256(base / "unet" / "diffusion_pytorch_model.safetensors")
    assert find_base_model(f"{base}#{digest}") == base
    with pytest.raises(WeightsError, match="the UNet's SHA-256 is"):
        find_base_model(f"{base}#{'0' * 64}")

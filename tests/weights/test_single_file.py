"""Stable Diffusion 2.1-base in one file: small networks under its names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ccsr.errors import WeightsError
from ccsr.networks import SD21, make_network
from ccsr.weights import load_model, single_file
from ccsr.weights.registry import find_base_model

from .conftest import UNET, VAE, WIDTH, Networks
from .test_first_version import BLOCKS, RESIDUAL, VAE_BLOCKS, VAE_PARTS, first_name

SIZES = {"unet": UNET, "vae": VAE, "scheduler": SD21["scheduler"]}
LAYERS = 3


def text_tower() -> dict[str, torch.Tensor]:
    """OpenCLIP's names, spelt out, of a tower of three layers."""
    draw = torch.Generator().manual_seed(2)

    def drawn(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(shape, generator=draw)

    tower = {
        "positional_embedding": drawn(77, WIDTH), "token_embedding.weight": drawn(49408, WIDTH),
        "ln_final.weight": drawn(WIDTH), "ln_final.bias": drawn(WIDTH), "text_projection": drawn(WIDTH, WIDTH),
        "logit_scale": drawn(),
    }  # fmt: skip
    for layer in range(LAYERS):
        tower |= {
            f"transformer.resblocks.{layer}.{name}": drawn(*shape)
            for name, shape in {
                "attn.in_proj_weight": (3 * WIDTH, WIDTH), "attn.in_proj_bias": (3 * WIDTH,),
                "attn.out_proj.weight": (WIDTH, WIDTH), "attn.out_proj.bias": (WIDTH,),
                "ln_1.weight": (WIDTH,), "ln_1.bias": (WIDTH,), "ln_2.weight": (WIDTH,), "ln_2.bias": (WIDTH,),
                "mlp.c_fc.weight": (32, WIDTH), "mlp.c_fc.bias": (32,), "mlp.c_proj.weight": (WIDTH, 32),
                "mlp.c_proj.bias": (WIDTH,),
            }.items()
        }  # fmt: skip
    return {f"cond_stage_model.model.{name}": tensor for name, tensor in tower.items()}


@pytest.fixture
def checkpoint(networks: Networks) -> dict[str, torch.Tensor]:
    unet = {
        f"model.diffusion_model.{first_name(n, BLOCKS, RESIDUAL)}": t for n, t in networks["unet"].state_dict().items()
    }
    vae = {
        f"first_stage_model.{first_name(n, VAE_BLOCKS, VAE_PARTS)}": t for n, t in networks["vae"].state_dict().items()
    }
    return {name: tensor.contiguous() for name, tensor in {**unet, **vae, **text_tower()}.items()}


def by_hand(tower: dict[str, torch.Tensor], tokens: tuple[int, ...]) -> torch.Tensor:
    """OpenCLIP's text tower, all layers but the last, then the last norm, by torch's own attention."""
    weights = {name.removeprefix("cond_stage_model.model."): tensor for name, tensor in tower.items()}
    ids = torch.tensor([49406, *tokens, 49407] + [0] * (75 - len(tokens)))
    x = (weights["token_embedding.weight"][ids] + weights["positional_embedding"])[None]
    for layer in range(LAYERS - 1):
        own = {n.split(".", 3)[3]: t for n, t in weights.items() if n.startswith(f"transformer.resblocks.{layer}.")}
        normed = torch.nn.functional.layer_norm(x, (WIDTH,), own["ln_1.weight"], own["ln_1.bias"])
        q, k, v = (normed @ own["attn.in_proj_weight"].T + own["attn.in_proj_bias"]).chunk(3, -1)
        seen = torch.nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], is_causal=True)
        x = x + seen[:, 0] @ own["attn.out_proj.weight"].T + own["attn.out_proj.bias"]
        normed = torch.nn.functional.layer_norm(x, (WIDTH,), own["ln_2.weight"], own["ln_2.bias"])
        inner = torch.nn.functional.gelu(normed @ own["mlp.c_fc.weight"].T + own["mlp.c_fc.bias"])
        x = x + inner @ own["mlp.c_proj.weight"].T + own["mlp.c_proj.bias"]
    return torch.nn.functional.layer_norm(x, (WIDTH,), weights["ln_final.weight"], weights["ln_final.bias"])


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_one_file_is_a_base_model(
    checkpoint: dict[str, torch.Tensor], published: tuple[Path, Path], networks: Networks, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, suffix: str,
) -> None:  # fmt: skip
    pytest.importorskip("transformers")
    own, _ = published
    (own / "embeddings.safetensors").unlink()
    path = tmp_path / f"v2-1_512-ema-pruned{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": checkpoint, "global_step": 1}, path)
    else:
        save_file(checkpoint, path)
    monkeypatch.setattr(single_file.base_from_file, "__defaults__", (SIZES,))
    model = load_model(own, base_model=path)
    for part in ("unet", "vae"):
        for name, tensor in getattr(model, part).state_dict().items():
            assert torch.equal(tensor, networks[part].state_dict()[name]), name
    assert model.description.remarks == ()
    for kind, tokens in single_file.TOKENS.items():
        torch.testing.assert_close(model.embeddings[kind], by_hand(checkpoint, tokens), rtol=1e-5, atol=1e-5)
    made = find_base_model(str(path))
    stamp = (made / "unet" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns
    assert (find_base_model(str(path)) / "unet" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns == stamp


def test_another_checkpoint_is_refused_by_name(checkpoint: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError, match="no checkpoint of Stable Diffusion"):
        find_base_model(str(tmp_path / "lora.safetensors"))
    save_file(checkpoint, tmp_path / "small.safetensors")
    with pytest.raises(WeightsError, match=r"its unet is not that of Stable Diffusion 2\.1: .*2\.1-base is needed"):
        find_base_model(str(tmp_path / "small.safetensors"))


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this ran",)


def test_a_pickle_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "v2-1_512-ema-pruned.ckpt"
    torch.save({"state_dict": {}, "callbacks": Payload()}, path)
    with pytest.raises(WeightsError, match=r"was not run \(use a \.safetensors file\)"):
        find_base_model(str(path))
    assert "this ran" not in capsys.readouterr().out


def full_size_names() -> dict[str, torch.Tensor]:
    """Every tensor of 2.1-base's UNet and VAE, on the meta device, under its name in the published file."""
    blocks = {name: old for name, old in BLOCKS.items() if not name.startswith(("down_blocks", "up_blocks"))}
    for level in range(4):
        for entry in range(3):
            number, last = 3 * level + entry, entry == 2
            blocks[f"down_blocks.{level}.resnets.{entry}"] = f"input_blocks.{number + 1}.0"
            blocks[f"down_blocks.{level}.attentions.{entry}"] = f"input_blocks.{number + 1}.1"
            blocks[f"up_blocks.{level}.resnets.{entry}"] = f"output_blocks.{number}.0"
            blocks[f"up_blocks.{level}.attentions.{entry}"] = f"output_blocks.{number}.1"
            if last:
                blocks[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{number + 1}.0.op"
                blocks[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{number}.{1 if level == 0 else 2}.conv"
    vae_blocks = {name: old for name, old in VAE_BLOCKS.items() if "_blocks" not in name}
    for level in range(4):
        vae_blocks[f"encoder.down_blocks.{level}.downsamplers.0.conv"] = f"encoder.down.{level}.downsample.conv"
        vae_blocks[f"decoder.up_blocks.{level}.upsamplers.0.conv"] = f"decoder.up.{3 - level}.upsample.conv"
        for block in range(3):
            vae_blocks[f"encoder.down_blocks.{level}.resnets.{block}"] = f"encoder.down.{level}.block.{block}"
            vae_blocks[f"decoder.up_blocks.{level}.resnets.{block}"] = f"decoder.up.{3 - level}.block.{block}"
    with torch.device("meta"):
        unet, vae = (make_network(part, SD21).state_dict() for part in ("unet", "vae"))
    matrices = {name for name, tensor in vae.items() if ".attentions.0.to_" in name and tensor.ndim == 2}
    return {
        **{f"model.diffusion_model.{first_name(name, blocks, RESIDUAL)}": tensor for name, tensor in unet.items()},
        **{
            f"first_stage_model.{first_name(name, vae_blocks, VAE_PARTS)}": tensor[:, :, None, None]
            if name in matrices
            else tensor
            for name, tensor in vae.items()
        },
    }


def test_the_published_files_names_and_shapes_at_full_size() -> None:
    tensors = full_size_names()
    assert len(tensors) == 686 + 248
    assert "model.diffusion_model.output_blocks.8.2.conv.weight" in tensors
    made = single_file.converted(tensors, Path("v2-1_512-ema-pruned.ckpt"), SD21)
    assert sum(tensor.numel() for tensor in made["unet"].state_dict().values()) == 865_910_724
    assert sum(tensor.numel() for tensor in made["vae"].state_dict().values()) == 83_653_863

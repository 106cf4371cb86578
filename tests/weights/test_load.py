"""Loading: outputs equal those of diffusers' own loader, and what is wrong with a file is one line that names it."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from ccsr.errors import WeightsError
from ccsr.networks import LatentControlNet
from ccsr.weights import load_model
from ccsr.weights.load import Model
from ccsr.weights.tensors import read_tensors

from .conftest import VAE, WIDTH, Networks, old_vae_names, write_network


def outputs(unet: Any, controlnet: Any, vae: Any) -> dict[str, torch.Tensor]:
    """What each network makes of fixed inputs."""
    draw = torch.Generator().manual_seed(3)
    z = torch.randn(1, 4, 8, 8, generator=draw, dtype=torch.float32).to(unet.dtype)
    text = torch.randn(1, 7, WIDTH, generator=draw).to(unet.dtype)
    picture = torch.rand(1, 3, 16, 16, generator=draw).to(unet.dtype)
    with torch.no_grad():
        down, mid = controlnet(z, 999, text, controlnet_cond=z.flip(-1), return_dict=False)
        eps = unet(z, 999, text, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
        return {
            "mid": mid,
            "eps": eps,
            "moments": vae.encode(picture).latent_dist.parameters,
            "sr": vae.decode(z).sample,
        }


def assert_same_outputs(model: Model, unet: Any, controlnet: Any, vae: Any) -> None:
    expected = outputs(unet.eval(), controlnet.eval(), vae.eval())
    for name, found in outputs(model.unet, model.controlnet, model.vae).items():
        assert expected[name].std() > 1e-3
        # Without AVX-512 sums are rounded in another order.
        torch.testing.assert_close(found, expected[name], rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_published_layout_computes_what_diffusers_loads(write_published: Any, suffix: str) -> None:
    own, base = write_published(suffix)
    model = load_model(own, base_model=base)
    assert_same_outputs(
        model,
        UNet2DConditionModel.from_pretrained(base / "unet", use_safetensors=suffix == ".safetensors"),
        LatentControlNet.from_pretrained(own / "controlnet", use_safetensors=suffix == ".safetensors"),
        AutoencoderKL.from_pretrained(own / "vae", use_safetensors=suffix == ".safetensors"),
    )
    assert model.scheduler_config["steps_offset"] == 1


def test_packed_layout_computes_what_diffusers_loads(packed: Path) -> None:
    assert_same_outputs(
        load_model(packed),
        UNet2DConditionModel.from_pretrained(packed / "unet"),
        LatentControlNet.from_pretrained(packed / "controlnet"),
        AutoencoderKL.from_pretrained(packed / "vae"),
    )


def test_published_folder_without_a_vae_takes_the_base_models(published: tuple[Path, Path]) -> None:
    own, base = published
    for file in (own / "vae").iterdir():
        file.unlink()
    (own / "vae").rmdir()
    found = load_model(own, base_model=base).vae.state_dict()["quant_conv.weight"]
    assert torch.equal(found, load_file(base / "vae" / "diffusion_pytorch_model.safetensors")["quant_conv.weight"])


def test_one_folder_with_everything_needs_no_base_model(published: tuple[Path, Path]) -> None:
    own, base = published
    for part in ("unet", "scheduler"):
        (base / part).rename(own / part)
    assert load_model(own).description.kind == "published_v2"


@pytest.mark.parametrize("as_convolutions", [False, True])
def test_vae_with_old_attention_names(write_published: Any, networks: Networks, as_convolutions: bool) -> None:
    tensors = old_vae_names(networks["vae"].state_dict())
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in tensors
    if as_convolutions:
        tensors = {
            n: t[:, :, None, None] if re.search(r"(query|key|value|proj_attn)\.weight", n) else t
            for n, t in tensors.items()
        }
    own, base = write_published(vae_tensors=tensors)
    # diffusers renames by itself, but does not take convolutions.
    vae = networks["vae"] if as_convolutions else AutoencoderKL.from_pretrained(own / "vae")
    assert_same_outputs(load_model(own, base_model=base), networks["unet"], networks["controlnet"], vae)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtype_is_that_of_every_tensor(packed: Path, networks: Networks, dtype: torch.dtype) -> None:
    model = load_model(packed, dtype=dtype)
    for network, reference in ((model.unet, "unet"), (model.controlnet, "controlnet"), (model.vae, "vae")):
        wanted = networks[reference].state_dict()
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, wanted[name].to(dtype)), name
        assert not network.training
        assert not any(p.requires_grad or p.is_meta for p in network.parameters())
    assert {t.dtype for t in model.embeddings.values()} == {dtype}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to see what is mapped")
def test_weights_are_the_files_pages_not_a_copy(packed: Path) -> None:
    model = load_model(packed)
    start = model.unet.conv_in.weight.data_ptr()
    mapped = [
        line
        for line in Path("/proc/self/maps").read_text().splitlines()
        if int(line.split("-")[0], 16) <= start < int(line.split(" ")[0].split("-")[1], 16)
    ]
    assert mapped[0].endswith(str(packed / "unet" / "diffusion_pytorch_model.safetensors"))


def test_tensors_at_fault_are_named(published: tuple[Path, Path]) -> None:
    own, base = published
    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.weight"] = torch.zeros(16, 5, 3, 3)
    tensors["surprise"] = torch.zeros(1)
    for name in [n for n in tensors if n.startswith("mid_block.resnets.0.")]:
        del tensors[name]
    del tensors["conv_out.bias"]
    save_file(tensors, path)
    with pytest.raises(WeightsError) as caught:
        load_model(own, base_model=base)
    line = str(caught.value)
    missing = [n for n in UNet2DConditionModel.from_config(base / "unet").state_dict() if n not in tensors]
    assert line.startswith(f"{path}: tensors {len(missing)} missing: {missing[0]}, {missing[1]}, {missing[2]}, ...;")
    assert "1 unexpected: surprise;" in line
    assert "1 of wrong shape: conv_in.weight is (16, 5, 3, 3) and not (16, 4, 3, 3)" in line
    assert "\n" not in line


def test_a_stock_controlnet_is_refused_by_name(published: tuple[Path, Path]) -> None:
    own, base = published
    path = own / "controlnet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["controlnet_cond_embedding.conv_in.weight"] = tensors.pop("condition_conv_in.weight")
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"1 missing: condition_conv_in.weight.*a stock ControlNet is no CCSR"):
        load_model(own, base_model=base)


def damaged_by(kind: str, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    return {
        "cut in the data": content[:-100],
        "cut in the header": content[: length // 2],
        "longer than its header says": content + b"\0" * 8,
        "empty": b"",
        "a page": b"\n<!DOCTYPE html><html><title>Sign in</title></html>",
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "noise": bytes(range(256)) * 4,
        "a huge header": (2**62).to_bytes(8, "little") + content[8:],
        "a header that is no object": (2).to_bytes(8, "little") + b"[]",
    }[kind]


WORDS = {
    "cut in the data": "damaged: .* bytes where its header asks for",
    "longer than its header says": "damaged: .* bytes where its header asks for",
    "empty": "an empty file",
    "a page": "an HTML page",
    "a pointer": "a git LFS pointer",
}


@pytest.mark.parametrize("kind", [*WORDS, "cut in the header", "noise", "a huge header", "a header that is no object"])
def test_damaged_safetensors_are_one_line(published: tuple[Path, Path], kind: str) -> None:
    own, base = published
    path = own / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(damaged_by(kind, path.read_bytes()))
    with pytest.raises(WeightsError, match=WORDS.get(kind, "damaged, or no safetensors file")) as caught:
        load_model(own, base_model=base)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["cut in the data", "empty", "a page", "a pointer", "noise"])
def test_damaged_pickles_are_one_line(write_published: Any, kind: str) -> None:
    own, base = write_published(".bin")
    path = own / "vae" / "diffusion_pytorch_model.bin"
    path.write_bytes(damaged_by(kind, path.read_bytes()))
    with pytest.raises(WeightsError) as caught:
        load_model(own, base_model=base)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


class Payload:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_pickle_does_not_run(write_published: Any, tmp_path: Path) -> None:
    own, base = write_published(".bin")
    proof = tmp_path / "the code ran"
    pickle.loads(pickle.dumps(Payload(proof)))  # noqa: S301 -- shows that the payload does work
    assert proof.exists()
    proof.rmdir()
    path = own / "vae" / "diffusion_pytorch_model.bin"
    torch.save({**torch.load(path), "more": Payload(proof)}, path)
    with pytest.raises(WeightsError, match="something else than tensors, and was not run"):
        load_model(own, base_model=base)
    path.write_bytes(pickle.dumps(Payload(proof)))
    with pytest.raises(WeightsError):
        load_model(own, base_model=base)
    assert not proof.exists()


def test_files_from_before_the_zip_format_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(tmp_path / "old.pth")["a"], torch.arange(3))
    whole = (tmp_path / "old.pth").read_bytes()
    (tmp_path / "old.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError):
        read_tensors(tmp_path / "old.pth")


def test_pickle_of_something_else_is_refused(write_published: Any) -> None:
    own, base = write_published(".bin")
    torch.save([torch.zeros(1)], own / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="something else than tensors by name"):
        load_model(own, base_model=base)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("vae/config.json", "{", "no valid json"),
        ("vae/config.json", "[1]", "no json object"),
        ("vae/config.json", "{}", "does not describe a network"),
        ("vae/config.json", json.dumps({**VAE, "norm_num_groups": 5}), "does not describe a AutoencoderKL"),
        ("vae/config.json", json.dumps({**VAE, "layers_per_block": 10**7}), "its numbers are absurd"),
        ("vae/config.json", json.dumps({**VAE, "block_out_channels": [10**9, 10**9]}), "its numbers are absurd"),
        ("vae/config.json", json.dumps({**VAE, "block_out_channels": "wide"}), "does not describe a"),
        ("vae/config.json", json.dumps({**VAE, "norm_num_groups": 0}), "does not describe a AutoencoderKL"),
        ("controlnet/config.json", "<html>", "an HTML page"),
        ("controlnet/config.json", "{}", "tensors .* missing"),
    ],
)
def test_configs_that_describe_nothing(published: tuple[Path, Path], file: str, text: str, words: str) -> None:
    own, base = published
    (own / file).write_text(text)
    with pytest.raises(WeightsError, match=words) as caught:
        load_model(own, base_model=base)
    assert "\n" not in str(caught.value)


def test_missing_parts_are_named(published: tuple[Path, Path], tmp_path: Path, networks: Networks) -> None:
    own, base = published
    with pytest.raises(WeightsError, match=f"^{own}: the base model is missing"):
        load_model(own)
    with pytest.raises(WeightsError, match="no CCSR model: it has no controlnet"):
        load_model(base)
    (own / "controlnet" / "diffusion_pytorch_model.safetensors").rename(own / "controlnet" / "model.ckpt")
    with pytest.raises(WeightsError, match=r"safetensors is missing \(there is model.ckpt\)"):
        load_model(own, base_model=base)
    write_network(own / "controlnet", networks["controlnet"])
    (own / "embeddings.safetensors").unlink()
    with pytest.raises(WeightsError, match="no text embeddings"):
        load_model(own, base_model=base)
    (base / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(WeightsError, match=r"scheduler/scheduler_config.json missing"):
        load_model(own, base_model=base)


def test_embeddings_must_fit_the_unet(published: tuple[Path, Path]) -> None:
    own, base = published
    save_file({"positive": torch.zeros(1, 7, WIDTH + 1)}, own / "embeddings.safetensors")
    with pytest.raises(WeightsError, match=rf"shape \(1, 7, {WIDTH + 1}\), the UNet wants \(1, tokens, {WIDTH}\)"):
        load_model(own, base_model=base)
    save_file({"positif": torch.zeros(1, 7, WIDTH)}, own / "embeddings.safetensors")
    with pytest.raises(WeightsError, match="unknown embedding positif"):
        load_model(own, base_model=base)


@pytest.mark.parametrize("file", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "model_index.json"])
def test_a_packed_folder_that_was_changed_is_not_loaded(packed: Path, file: str) -> None:
    with (packed / file).open("ab") as opened:
        opened.write(b" ")
    with pytest.raises(WeightsError, match=f"not as it was packed: {file}: changed|bytes where its header"):
        load_model(packed)

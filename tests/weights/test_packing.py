"""Packing: the folder is one that diffusers reads, says what it holds, and never replaces another."""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from ccsr.errors import OptionError, WeightsError
from ccsr.networks import LatentControlNet
from ccsr.weights import ModelFacts, describe, load_model, mix, pack, pack_networks, save_model, verify_model

from .conftest import SCHEDULER, Networks


def test_manifest_holds_the_hash_of_every_file(packed: Path) -> None:
    manifest = json.loads((packed / "manifest.json").read_text())
    below = {p.relative_to(packed).as_posix(): p for p in packed.rglob("*") if p.is_file()}
    del below["manifest.json"]
    assert manifest["files"] == {
        name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": len(path.read_bytes())}
        for name, path in below.items()
    }
    assert set(below) == {
        "model_index.json",
        "embeddings.safetensors",
        "scheduler/scheduler_config.json",
        *(
            f"{n}/{f}"
            for n in ("unet", "controlnet", "vae")
            for f in ("config.json", "diffusion_pytorch_model.safetensors")
        ),
    }
    facts = {key: manifest[key] for key in ("format", "name", "source", "licence", "dtype")}
    assert facts == {
        "format": 1, "name": "packed", "source": "made in a test", "licence": "CC0-1.0", "dtype": "fp32"
    }  # fmt: skip


def test_model_hash_can_be_made_with_coreutils(packed: Path) -> None:
    command = (
        "find . -type f ! -name manifest.json | sed s:^./:: | xargs sha256sum | LC_ALL=C sort | sha256sum | cut -c1-64"
    )
    try:
        made = subprocess.run(command, shell=True, cwd=packed, capture_output=True, text=True, check=True).stdout  # noqa: S602
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs sha256sum")
    assert describe(packed).sha256 == made.strip()


def test_index_is_what_diffusers_writes(packed: Path, tmp_path: Path) -> None:
    class CCSRPipeline(DiffusionPipeline):
        def __init__(self, unet: Any, controlnet: Any, vae: Any, scheduler: Any) -> None:
            super().__init__()
            self.register_modules(unet=unet, controlnet=controlnet, vae=vae, scheduler=scheduler)

    model = load_model(packed)
    scheduler = DDPMScheduler.from_config(model.scheduler_config)
    CCSRPipeline(model.unet, model.controlnet, model.vae, scheduler).save_pretrained(tmp_path / "diffusers")
    written = json.loads((tmp_path / "diffusers" / "model_index.json").read_text())
    ours = json.loads((packed / "model_index.json").read_text())
    assert {key: ours[key] for key in written if key != "_name_or_path"} == {
        key: value for key, value in written.items() if key != "_name_or_path"
    }
    # Size 8 x factor 2 of the tiny networks, where Stable Diffusion has 64 x 8.
    assert (ours["min_size"], ours["color_fix"]) == (16, "adain")
    for part in ("unet", "controlnet", "vae"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        theirs = load_file(tmp_path / "diffusers" / name)
        mine = load_file(packed / name)
        assert theirs.keys() == mine.keys()
        assert all(torch.equal(theirs[key], mine[key]) for key in theirs)


def test_scheduler_means_the_same_as_the_published_file(packed: Path) -> None:
    stored = DDPMScheduler.from_pretrained(packed / "scheduler")
    published = DDPMScheduler.from_config(dict(SCHEDULER))
    assert torch.equal(stored.alphas_cumprod, published.alphas_cumprod)
    for key in ("prediction_type", "timestep_spacing", "steps_offset", "clip_sample", "variance_type"):
        assert stored.config[key] == published.config[key]


def test_no_path_of_this_machine_is_packed(published: tuple[Path, Path], tmp_path: Path) -> None:
    own, base = published
    loaded = {
        "unet": UNet2DConditionModel.from_pretrained(base / "unet"),
        "controlnet": LatentControlNet.from_pretrained(own / "controlnet"),
        "vae": AutoencoderKL.from_pretrained(own / "vae"),
    }
    write(tmp_path / "out", loaded, embeddings={"positive": torch.zeros(1, 2, 24)})
    for file in (tmp_path / "out").rglob("*.json"):
        assert str(tmp_path) not in file.read_text()


def write(out: Path, networks: Networks, embeddings: dict[str, torch.Tensor], **changes: Any) -> None:
    pack_networks(
        out, networks, SCHEDULER, embeddings, replace(ModelFacts("tiny", "a test", "CC0-1.0", "none"), **changes)
    )


def test_networks_in_memory(tmp_path: Path, networks: Networks, embeddings: dict[str, torch.Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in networks["unet"].state_dict().items()}
    out = tmp_path / "deep" / "tiny"
    write(out, networks, embeddings={"positive": embeddings["positive"]}, extra_files={"MODEL_CARD.md": "# tiny\n"})
    description = describe(out)
    assert (description.name, description.min_size, description.color_fix) == ("tiny", None, "none")
    assert description.embeddings == ("positive",)
    assert verify_model(str(out)) == []
    assert (out / "MODEL_CARD.md").read_text() == "# tiny\n"
    model = load_model(out, dtype=torch.bfloat16)
    for name, tensor in model.unet.state_dict().items():
        assert torch.equal(tensor, before[name].bfloat16())
        assert networks["unet"].state_dict()[name].dtype == torch.float32
    stored = load_file(out / "embeddings.safetensors")
    assert torch.equal(stored["positive"], embeddings["positive"])


def test_packing_again_changes_the_dtype_only(packed: Path, tmp_path: Path) -> None:
    pack(packed, tmp_path / "half", dtype="bf16", source_text="the packed one", licence="CC0-1.0", name="half")
    whole, half = describe(packed), describe(tmp_path / "half")
    assert half.parameters == whole.parameters
    assert (half.min_size, half.color_fix) == (whole.min_size, whole.color_fix)
    assert half.sha256 != whole.sha256
    kept = load_file(packed / "embeddings.safetensors")
    assert all(torch.equal(t, kept[n]) for n, t in load_file(tmp_path / "half" / "embeddings.safetensors").items())
    for part in ("unet", "controlnet", "vae"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        wanted = load_file(packed / name)
        for key, tensor in load_file(tmp_path / "half" / name).items():
            assert torch.equal(tensor, wanted[key].bfloat16())


def test_saving_a_loaded_model_keeps_its_facts(packed: Path, tmp_path: Path) -> None:
    model = load_model(packed, dtype=torch.float16)
    (tmp_path / "saved").mkdir()
    save_model(model, tmp_path / "saved")
    saved = load_model(tmp_path / "saved", dtype=torch.float16)
    assert saved.description.licence == "CC0-1.0"
    for key, tensor in model.controlnet.state_dict().items():
        assert torch.equal(saved.controlnet.state_dict()[key], tensor)


def test_nothing_is_overwritten_and_nothing_half_is_left(
    packed: Path, tmp_path: Path, networks: Networks, embeddings: dict[str, torch.Tensor]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WeightsError, match=f"^{packed}: exists already, and is not overwritten"):
        write(packed, networks, embeddings=embeddings)
    with pytest.raises(OptionError, match="--dtype is 'int8'"):
        write(tmp_path / "new", networks, embeddings=embeddings, dtype="int8")
    with pytest.raises(WeightsError, match="positive holds values that are not finite"):
        write(tmp_path / "new", networks, embeddings={"positive": torch.full((1, 7, 24), torch.nan)})
    with pytest.raises(WeightsError, match="a model needs an embedding"):
        write(tmp_path / "new", networks, embeddings={})
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        write(tmp_path / "file" / "new", networks, embeddings=embeddings)
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "file"] or not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*"))


def test_verify_names_every_difference(packed: Path) -> None:
    assert verify_model(str(packed)) == []
    (packed / "unet" / "config.json").unlink()
    weights = packed / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (packed / "embeddings.safetensors").write_bytes(b"short")
    (packed / "extra.py").write_text("")
    (packed / ".DS_Store").write_text("")
    size = json.loads((packed / "manifest.json").read_text())["files"]["embeddings.safetensors"]["bytes"]
    assert sorted(verify_model(str(packed))) == [
        f"embeddings.safetensors: changed: 5 bytes, the manifest says {size}",
        "extra.py: surplus: not in the manifest",
        "unet/config.json: missing",
        "vae/diffusion_pytorch_model.safetensors: changed: its SHA-256 is not the manifest's",
    ]


def test_verify_without_a_manifest(packed: Path) -> None:
    (packed / "manifest.json").unlink()
    assert verify_model(str(packed)) == ["manifest.json: missing, so there is nothing to compare with"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": 2}, "manifest format 2"), ({"files": {"../outside": {"sha256": "", "bytes": 0}}}, "files is damaged")],
)
def test_manifests_that_cannot_be_trusted(packed: Path, change: dict[str, Any], words: str) -> None:
    path = packed / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for read in (describe, verify_model, load_model):
        with pytest.raises(WeightsError, match=words):
            read(str(packed))


def test_a_mix_is_the_weighted_mean(packed: Path, networks: Networks, tmp_path: Path) -> None:
    other = load_model(str(packed))
    for network in (other.unet, other.controlnet, other.vae):
        for p in network.parameters():
            p.data = p.data + 1
    save_model(other, tmp_path / "other")
    mix({str(packed): 0.25, str(tmp_path / "other"): 0.75}, tmp_path / "mixed", dtype="fp32")
    before, mixed = load_model(str(packed)), load_model(str(tmp_path / "mixed"))
    for a, b in ((before.unet, mixed.unet), (before.controlnet, mixed.controlnet), (before.vae, mixed.vae)):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(q, p + 0.75)
    assert mixed.description.source == "weighted mean: 0.25 packed, 0.75 packed"
    assert verify_model(str(packed)) == []
    with pytest.raises(OptionError, match=r"sum to 0\.9"):
        mix({str(packed): 0.25, str(tmp_path / "other"): 0.65}, tmp_path / "no")


def test_a_mix_needs_one_architecture(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="another architecture"):
        mix({str(packed): 0.5, "nano": 0.5}, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()

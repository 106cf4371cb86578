"""The folders that people have: each loads, or one line says what lies there and what to type."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from ccsr.cli.main import main
from ccsr.errors import WeightsError
from ccsr.weights import describe, load_model
from ccsr.weights.layouts import find_layout, weights_file
from ccsr.weights.registry import find_base_model

from .conftest import Networks

Folders = tuple[Path, Path]
STEM = "diffusion_pytorch_model"


def same_as(networks: Networks, model: Path, base: Path | None) -> None:
    found = load_model(model, base_model=base)
    for part in ("unet", "controlnet", "vae"):
        wanted = networks[part].state_dict()
        for name, tensor in getattr(found, part).state_dict().items():
            assert torch.equal(tensor, wanted[name]), (part, name)


def moved(path: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(to)


def test_without_a_decoder_of_its_own_is_said_loudly(
    published: Folders, caplog: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    own, base = published
    assert describe(own, base).remarks == ()
    shutil.rmtree(own / "vae")
    load_model(own, base_model=base)
    assert "published: it has no vae/ of its own, so the base model's decoder is used" in caplog.text
    assert main(["models", "info", str(own), "--base-model", str(base)]) == 0
    captured = capsys.readouterr()
    assert "WARNING: it has no vae/ of its own" in captured.err
    assert "warnings:" not in captured.out
    assert main(["models", "info", str(own), "--base-model", str(base), "--json"]) == 0
    assert "half of the method" in json.loads(capsys.readouterr().out)["warnings"][0]


def test_the_controlnet_from_before_the_training_is_said_loudly(published: Folders, caplog: Any) -> None:
    own, base = published
    (own / "controlnet").rename(own / "pretrained_controlnet")
    load_model(own, base_model=base)
    assert "there is no controlnet/, so pretrained_controlnet/ is used" in caplog.text


def test_the_final_controlnet_comes_before_the_earlier_one(published: Folders) -> None:
    own, base = published
    shutil.copytree(own / "controlnet", own / "pretrained_controlnet")
    found = find_layout(own, base)
    assert (found.networks["controlnet"].name, found.remarks) == ("controlnet", ())


def as_it_is(own: Path, base: Path) -> tuple[Path, Path | None]:
    return own, base


def other_case(own: Path, base: Path) -> tuple[Path, Path | None]:
    for part, other in (("controlnet", "Controlnet"), ("vae", "VAE")):
        moved(own / part, own / other)
    return own, base


def the_parent(own: Path, base: Path) -> tuple[Path, Path | None]:
    moved(own, own.parent / "program" / "preset" / "models")
    return own.parent / "program", base


def the_controlnet_itself(own: Path, base: Path) -> tuple[Path, Path | None]:
    return own / "controlnet", base


def the_unet_itself(own: Path, base: Path) -> tuple[Path, Path | None]:
    return own, base / "unet"


def base_one_level_too_high(own: Path, base: Path) -> tuple[Path, Path | None]:
    moved(base, base.parent / "downloads" / "stable-diffusion-2-1-base")
    return own, base.parent / "downloads"


def mirror_with_the_base_in_a_folder(own: Path, base: Path) -> tuple[Path, Path | None]:
    moved(base, own / "stable-diffusion-2-1-base")
    return own, None


def mirror_with_all_at_the_root(own: Path, base: Path) -> tuple[Path, Path | None]:
    for part in ("unet", "scheduler"):
        moved(base / part, own / part)
    return own, None


def mirror_with_all_below(own: Path, base: Path) -> tuple[Path, Path | None]:
    for part in ("unet", "scheduler"):
        moved(base / part, own / part)
    moved(own, own.parent / "mirror" / "stable-diffusion-2-1-base")
    return own.parent / "mirror", None


def half_precision_names(own: Path, base: Path) -> tuple[Path, Path | None]:
    moved(base / "unet" / f"{STEM}.safetensors", base / "unet" / f"{STEM}.fp16.safetensors")
    return own, base


def without_averages(own: Path, base: Path) -> tuple[Path, Path | None]:
    moved(base / "unet" / f"{STEM}.safetensors", base / "unet" / f"{STEM}.non_ema.safetensors")
    return own, base


@pytest.mark.parametrize(
    "arranged",
    [
        as_it_is, other_case, the_parent, the_controlnet_itself, the_unet_itself, base_one_level_too_high,
        mirror_with_the_base_in_a_folder, mirror_with_all_at_the_root, mirror_with_all_below, half_precision_names,
        without_averages,
    ],
)  # fmt: skip
def test_arrangements_that_load(
    published: Folders, networks: Networks, arranged: Callable[[Path, Path], tuple[Path, Path | None]]
) -> None:
    same_as(networks, *arranged(*published))


def test_weights_without_averages_are_told(published: Folders) -> None:
    assert "unet/diffusion_pytorch_model.non_ema" in describe(*without_averages(*published)).remarks[0]


def test_a_packed_folder_is_found_one_level_too_high(packed: Path, networks: Networks) -> None:
    moved(packed, packed.parent / "downloads" / "ccsr")
    same_as(networks, packed.parent / "downloads", None)


def test_averages_come_before_half_precision_and_that_before_none(tmp_path: Path) -> None:
    names = [f"{STEM}{suffix}" for suffix in (".safetensors", ".bin", ".fp16.safetensors", ".non_ema.safetensors")]
    for name in reversed(names):
        (tmp_path / name).touch()
        assert weights_file(tmp_path).name == name


def test_model_and_base_swapped(published: Folders) -> None:
    own, base = published
    with pytest.raises(WeightsError, match=rf"are swapped: .*\(--model {own} --base-model {base}\)"):
        describe(base, own)


def test_files_that_lie_flat_are_named(published: Folders, tmp_path: Path) -> None:
    own, base = published
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (own / "controlnet").iterdir():
        file.rename(flat / file.name)
    with pytest.raises(WeightsError, match=rf"there lies config\.json, {STEM}\.safetensors \(put the ControlNet's"):
        describe(flat, base)


def test_a_folder_with_the_first_versions_file_says_how_to_pack_it(published: Folders, tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "real-world_ccsr.ckpt").touch()
    with pytest.raises(WeightsError, match=r"ccsr models pack .*/v1/real-world_ccsr\.ckpt -o OUT --base-model BASE"):
        describe(tmp_path / "v1", published[1])


def test_several_below_are_named_with_the_command(published: Folders, tmp_path: Path) -> None:
    own, base = published
    for name in ("first", "second"):
        shutil.copytree(own, tmp_path / "shelf" / name)
    with pytest.raises(WeightsError, match=r"first, second \(name one: ccsr upscale PICTURE --model .*/shelf/first\)"):
        describe(tmp_path / "shelf", base)


def test_a_base_that_is_none_is_told_what_it_is(published: Folders, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cat.png").touch()
    with pytest.raises(WeightsError, match=r"no base model: it has no unet folder; there lies cat\.png"):
        describe(published[0], tmp_path / "pictures")
    assert find_base_model(str(published[1])) == published[1]


def test_real_key_lists_are_those_of_the_classes() -> None:
    """Stable Diffusion 2.1-base's UNet has 686 tensors and 865,910,724 values, its VAE 248 and 83,653,863."""
    from diffusers import AutoencoderKL

    from ccsr.networks import SD21

    with torch.device("meta"):
        networks = UNet2DConditionModel(**SD21["unet"]), AutoencoderKL(**SD21["vae"])
    counts = [(len(n.state_dict()), sum(p.numel() for p in n.parameters())) for n in networks]
    assert counts == [(686, 865_910_724), (248, 83_653_863)]

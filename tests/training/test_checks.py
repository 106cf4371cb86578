"""Values that make no sense are one line each, which names the key, before anything is begun."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ccsr.data.pairs import DataConfig
from ccsr.data.sources import Pictures, SourceConfig
from ccsr.errors import OptionError
from ccsr.training.checks import RULES
from ccsr.training.config import ValidationConfig, recipe, resolve
from ccsr.training.run import _validation
from ccsr.training.yaml_config import read_settings
from helpers import write_picture

WRONG = """
data.batch=0 data.crop=0 data.crop=-8 data.workers=-1 data.per_region=0 data.region=0 data.sources.0.first=0
data.sources.0.first=-1 data.sources.0.longest_side=0 data.degradation.factor=0 data.degradation.factors=[4,0]
data.degradation.clean_share=-0.1 data.degradation.light_share=1.5 data.degradation.strong_share=2
data.degradation.camera.blur=[0,1] data.degradation.camera.blur=[2,1] data.degradation.camera.noise=-1
data.degradation.camera.sharpening=-1 data.degradation.camera.jpeg=[0,50] data.degradation.first.jpeg=[95,30]
data.degradation.second.jpeg=[50,101] data.degradation.first.blur_share=2 data.degradation.first.sigma=[0,1]
data.degradation.first.resize=[1.5,0.3] data.degradation.first.resize_shares=[0.5,0.5,0.5]
data.degradation.first.gaussian=[5,1] data.degradation.first.poisson=[-1,1] data.degradation.first.grey_share=-1
data.degradation.first.plateau_beta=[2,3] data.degradation.first.generalized_beta=[0,2] loop.learning_rate=-1
loop.learning_rate=0 loop.betas=[0.9,1] loop.betas=[-0.1,0.9] loop.ema=1 loop.ema=-0.5 loop.weight_decay=-1
loop.warmup=-1 loop.hold=1.5 loop.final_rate=-1 loop.clip_norm=0 loop.seed=-1 loop.hours=0 loop.keep=0 loop.steps=0
loop.accumulate=0 loop.log_every=0 loop.save_every=0 loop.evaluate_every=0 loop.learning_rate=.nan
loop.learning_rate=.inf loop.steps=.inf loop.seed=100000000000000000000 validation.hold_out=-1 validation.count=-1
validation.crop=0 validation.sheet=-1 validation.levels=[clean_x9] validation.levels=[dirty_x4] loss.grids=[]
loss.grids=[0] loss.grids=[2] loss.other_grids=[[6,1/2,2/3]] loss.other_grids=[[6,2/0,1/3]]
loss.other_grids=[[6,a,b]] loss.latent.snr_cap=0 loss.reconstruction_weight=-1 loss.chroma_weight=-1
loss.perceptual_weight=-1 loss.perceptual_zoom=[1.2,1.5] loss.perceptual_zoom=[0,2] loss.weave_weight=-1
loss.ssim_weight=-1 loss.adversarial_weight=-1 loss.critic_weight=-1 loss.filters=0 loss.begin=-1 loss.latent_share=2
loss.latent_weight=-1 loss.latent.t_range=[500,500] loss.latent.renoise=[] loss.latent.renoise=[1000]
loss.latent.share_at_T=1.1
"""


def _file(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: paper\ndata: {sources: [{folder: a}]}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("word", WRONG.split())
def test_a_wrong_value_is_one_line_with_its_key(word: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError) as raised:
        resolve("stage2", read_settings(_file(tmp_path), [word]))
    key = word.partition("=")[0]
    line = str(raised.value)
    assert line.startswith((f"{key} is ", f"{key} has ", f"{key} 0 ")), line
    assert line.endswith(")"), "what is needed"
    assert "\n" not in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("loss.t_range=[667,0]", "loss.t_range is [667, 0] (0 to 1000, the first below the second)"),
        (
            "data.degradation.light_share=0.6 data.degradation.camera_share=0.6",
            "the shares of data.degradation add up to 1.2 (1 at most is needed)",
        ),
        (
            "data.crop=64 data.region=32",
            "data.crop 64 and data.region 32 do not suit a factor of 4 (multiples of it, the region at least",
        ),
        ("data.batch=4 data.per_region=3", "data.batch 4 is no multiple of data.per_region 3 (a batch is made of"),
        ("validation.crop=16 validation.levels=[clean_x4]", "validation.crop is 16 (choose 32 or more)"),
        ("validation.crop=16 data.degradation.factor=3 data.crop=48", "validation.crop is 16 (choose 24 or more)"),
    ],
)
def test_values_that_do_not_fit_together(words: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError) as raised:
        resolve("stage1", read_settings(_file(tmp_path), words.split()))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("data.crop=16 loss.discriminator=patchgan", "patchgan needs 24 at least"),
        ("data.crop=20 loss.discriminator=none loss.perceptual=squeezenet", "squeezenet needs 24 at least"),
        ("data.crop=8 loss.discriminator=none loss.ssim_weight=1", "loss.ssim_weight needs 11 at least"),
    ],
)
def test_crops_that_a_term_cannot_see(words: str, needed: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=needed):
        resolve("stage2", read_settings(_file(tmp_path), words.split()))


def test_levels_are_judged_on_pictures_that_are_large_enough(tmp_path: Path) -> None:
    for name, side in (("a", 16), ("b", 48)):
        write_picture(tmp_path / "photos" / f"{name}.png", side, side)
    pictures = Pictures.open([SourceConfig(folder=str(tmp_path / "photos"))])
    config = ValidationConfig(levels=("clean_x4",), crop=64)
    judged = _validation(pictures, config, DataConfig())
    assert [pair.gt.shape[-1] for pair in judged.levels["clean_x4"]] == [48]


def test_both_phases_skipped_and_sizes_of_a_phase() -> None:
    with pytest.raises(OptionError, match=r"^vae\.skip and denoiser\.skip leave nothing to do "):
        resolve("pretrain", {"vae": {"skip": True}, "denoiser": {"skip": True}})
    with pytest.raises(OptionError, match=r"^denoiser\.data\.batch is 0 \(choose 1 or more\)"):
        resolve("pretrain", {"denoiser": {"data": {"batch": 0}}})


@pytest.mark.parametrize(("stage", "name"), [("pretrain", "published"), ("stage1", "paper"), ("stage2", "published")])
def test_every_number_has_a_rule(stage: str, name: str) -> None:
    """So that the next setting gets one, too."""

    def numbers(config: Any) -> set[str]:
        found = set()
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if dataclasses.is_dataclass(value):
                found |= numbers(value)
            elif any(kind in str(field.type) for kind in ("int", "float")):
                found.add(field.name)
        return found

    assert numbers(recipe(stage, name)) <= set(RULES)

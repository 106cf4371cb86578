"""Every file in configs/ is understood and trains: two steps of each on tiny networks."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ccsr import CCSRPipeline
from ccsr.networks.vit import ViT
from ccsr.training.config import Config, PretrainConfig, Stage2Config, resolve
from ccsr.training.run import train
from ccsr.training.yaml_config import read_settings
from helpers import write_picture

HOME = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(HOME.rglob("*.yaml"))


def _stage(path: Path) -> str:
    """As the file's own first lines say: `ccsr train STAGE --config ...`."""
    line = next(line for line in path.read_text(encoding="utf-8").splitlines() if "ccsr train" in line)
    assert f"configs/{path.relative_to(HOME).as_posix()}" in line
    return line.split("ccsr train ")[1].split()[0]


def test_all_are_here() -> None:
    names = {path.stem for path in CONFIGS}
    assert names >= {
        "sd21-pretrain", "sd21-stage1", "sd21-stage2", "sd21-stage1-paper", "sd21-stage2-paper", "nano-pretrain",
        "nano-stage1", "nano-joint", "nano-stage2", "finetune-decoder",
    }  # fmt: skip


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights of the feature networks, in the shapes of their files."""
    folder = tmp_path_factory.mktemp("judges")
    torch.manual_seed(0)
    vit = ViT(width=16, depth=4, patch=8, patches=16, inner=32, scaled=True)
    save_file(vit.state_dict(), folder / "dino.safetensors")
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.relative_to(HOME).as_posix())
def test_two_steps_and_a_model(
    path: Path, tiny: str, tiny_compact: str, photos: Path, judges: dict[str, Path], tmp_path: Path
) -> None:
    stage = _stage(path)
    base = tiny_compact if read_settings(path, []).get("model", {}).get("open_gate") else tiny
    loops = ["vae.loop", "denoiser.loop"] if stage == "pretrain" else ["loop"]
    datas = ["vae.data", "denoiser.data"] if stage == "pretrain" else ["data"]
    words = [
        f"run={tmp_path / 'run'}",
        f"model.base={base}",
        "model.dtype=fp32",
        "validation.crop=32",
        "validation.count=1",
    ]
    if stage == "pretrain":
        words += [f"sources={photos}", "model.fresh=[unet,controlnet,prompt]" if "nano" in path.name else ""]
    else:
        words += [f"data.sources={photos}"]
    for loop in loops:
        words += [
            f"{loop}.{word}"
            for word in ("steps=2", "precision=fp32", "accumulate=2", "evaluate_every=2", "log_every=1")
        ]
    for data in datas:
        words += [f"{data}.{word}" for word in ("crop=40", "region=null", "batch=2", "per_region=1", "workers=0")]
    settings = read_settings(path, [w for w in words if w])
    if stage == "stage2":
        loss = settings["loss"]
        loss |= (
            {"features": str(judges["dino"]), "semantics": str(judges["dino"]), "begin": 1}
            if "features" in loss
            else {}
        )
        loss |= {"perceptual": "squeezenet", "perceptual_heads": None} if "perceptual" in loss else {}
    config = resolve(stage, settings)
    outcome = train(config)
    assert (outcome.finished, outcome.step) == (True, 2)
    phase = ("vae" if config.denoiser.skip else "denoiser") if isinstance(config, PretrainConfig) else ""
    log = tmp_path / "run" / phase / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines if "evaluation" not in line] == [1, 2]
    if config.validation.hold_out:
        assert [line["step"] for line in lines if "evaluation" in line] == [0, 2]
        assert len(list(log.parent.joinpath("pictures").iterdir())) == 2

    # What was to learn has changed, and nothing else has.
    assert outcome.model is not None
    for part, learnt in _learnt(config).items():
        before, after = (
            load_file(Path(f) / part / "diffusion_pytorch_model.safetensors") for f in (base, outcome.model)
        )
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert bool(changed) == bool(learnt), part
        if learnt not in (True, False):
            assert {name.split(".")[0] for name in changed} == {learnt}

    pipe = CCSRPipeline.from_pretrained(str(outcome.model))
    pipe.set_progress_bar_config(disable=True)
    assert pipe(write_picture(tmp_path / "a.png", 8, 8), scale=4).images[0].size == (32, 32)


def _learnt(config: Config) -> dict[str, bool | str]:
    learnt: dict[str, bool | str] = {part: part in config.model.trained for part in ("unet", "controlnet", "vae")}
    return learnt | ({"vae": "decoder"} if isinstance(config, Stage2Config) and not learnt["vae"] else {})


def test_nano_from_nothing(photos: Path, tmp_path: Path) -> None:
    """The documented command: codec by algebra, all three networks of the real size, every level judged."""
    path = next(p for p in CONFIGS if p.stem == "nano-joint")
    words = [f"run={tmp_path / 'run'}", f"data.sources={photos}", "data.crop=32", "data.region=null"]
    words += ["data.per_region=1", "data.batch=2", "data.workers=0", "data.cache=false", "loop.steps=2"]
    words += ["validation.hold_out=1", "validation.crop=32", "model.dtype=fp32", "loop.evaluate_every=2"]
    words += ["loop.precision=fp32"]
    outcome = train(resolve("stage2", read_settings(path, words)))
    assert outcome.model is not None
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    scores = next(json.loads(line)["evaluation"] for line in lines if "evaluation" in line)
    for level in ("clean_x4", "noisy_x4", "clean_x1"):
        assert scores[f"{level}_s1_psnr"] == pytest.approx(scores[f"{level}_codec_psnr"], abs=1e-3)
    # The codec alone, before any step: a clean picture comes back nearly as it is.
    assert scores["clean_x1_codec_psnr"] > 30
    pipe = CCSRPipeline.from_pretrained(str(outcome.model))
    pipe.set_progress_bar_config(disable=True)
    assert pipe(write_picture(tmp_path / "a.png", 9, 8), scale=3).images[0].size == (27, 24)


def test_nano_starts_from_the_vae_that_ships(photos: Path, tmp_path: Path) -> None:
    """The documented command, on a folder of pictures and two steps of the real size."""
    path = next(p for p in CONFIGS if p.stem == "nano-stage1")
    words = [f"run={tmp_path}", f"data.sources={photos}", "data.crop=32", "data.region=null", "data.per_region=1"]
    words += ["data.batch=2", "data.workers=0", "loop.steps=2", "validation.hold_out=0", "model.dtype=fp32"]
    outcome = train(resolve("stage1", read_settings(path, words)))
    assert outcome.model is not None
    from ccsr.weights import describe

    facts, nano = describe(outcome.model), describe("nano")
    assert facts.parameters == nano.parameters
    assert facts.embeddings == ("positive",)
    ours, theirs = (load_file(m.layout.networks["vae"] / "diffusion_pytorch_model.safetensors") for m in (facts, nano))
    assert all(torch.equal(ours[name], theirs[name].float()) for name in ours)
    assert "ccsr train stage1, 2 steps" in facts.source

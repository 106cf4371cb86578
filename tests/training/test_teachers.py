"""A trained network as a term of the loss: what it computes, and whom it teaches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from ccsr.data.pairs import Pair
from ccsr.errors import OptionError, WeightsError
from ccsr.training.config import Config, Stage2Config
from ccsr.training.loop import StepNoise
from ccsr.training.networks import start_networks
from ccsr.training.stage2 import Stage2
from ccsr.training.teachers import Teacher, taught
from ccsr.training.validation import Validation
from helpers import write_ncnn

PEER = Path(__file__).parents[3] / "shared" / "data" / "peers" / "realesr-general-x4v3"
SMALL = [(8, 3), (8, 8), (48, 8)]
CPU = torch.device("cpu")


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.skipif(not PEER.with_suffix(".bin").exists(), reason="the peer's weights are not here")
def test_a_real_one_computes_as_ncnn_does() -> None:
    pytest.importorskip("ncnn")
    from ccsr.compare.worker_program import ncnn_net

    lq = (_noise(1, 3, 24, 40) * 255).round() / 255
    net, _ = ncnn_net({"param": f"{PEER}.param", "weights": f"{PEER}.bin", "threads": 1})
    theirs = np.asarray(net((lq[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), 96, 160))
    ours = (Teacher(str(PEER))(lq).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs.astype(np.float32).clip(0, 255).round()).max() <= 1


def test_without_weights_it_is_the_nearest_enlargement(tmp_path: Path) -> None:
    write_ncnn(tmp_path / "none", SMALL, True, scale=0.0)
    lq = _noise(2, 3, 5, 7)
    assert torch.equal(Teacher(str(tmp_path / "none"))(lq), lq.repeat_interleave(4, 2).repeat_interleave(4, 3))


@pytest.mark.parametrize("widths", [[(8, 3), (12, 8)], [(8, 1), (48, 8)]])
def test_another_network_is_refused_by_name(widths: list[tuple[int, int]], tmp_path: Path) -> None:
    write_ncnn(tmp_path / "other", widths, False)
    with pytest.raises(WeightsError, match=r"other\.param: is no network"):
        Teacher(str(tmp_path / "other"))


def test_its_pictures_have_the_good_ones_colours(tmp_path: Path) -> None:
    write_ncnn(tmp_path / "none", SMALL, True, scale=0.0)
    lq = 0.4 + 0.2 * _noise(1, 3, 16, 16)
    gt = lq.repeat_interleave(4, 2).repeat_interleave(4, 3) + torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(taught(Teacher(str(tmp_path / "none")), lq, gt), gt)


def test_what_looks_nearer_is_what_the_decoder_matches(quick: Callable[..., Config], tmp_path: Path) -> None:
    write_ncnn(tmp_path / "none", SMALL, True, scale=0.0)
    words = ["loss.discriminator=none", "loss.perceptual=squeezenet", f"loss.teachers=[{tmp_path / 'none'}]"]
    stage = _stage(quick("stage2", tmp_path, *words))
    gt = _noise(2, 3, 16, 16).repeat_interleave(4, 2).repeat_interleave(4, 3)
    lq = torch.nn.functional.avg_pool2d(gt, 4)  # whose nearest enlargement is the good picture itself
    target, _ = stage._seen(torch.zeros_like(gt), Pair(gt, lq, ()), StepNoise(0, 0, CPU))
    torch.testing.assert_close(target, gt)
    worse = 0.5 * lq + 0.5 * _noise(2, 3, 16, 16, seed=3)
    target, _ = stage._seen(gt.clone(), Pair(gt, worse, ()), StepNoise(0, 0, CPU))
    assert torch.equal(target, gt)
    target, apart = stage._seen(torch.zeros_like(gt), Pair(gt, worse, ()), StepNoise(0, 0, CPU))
    assert not torch.equal(target, gt)
    _, from_it = stage._seen(target, Pair(target, lq, ()), StepNoise(0, 0, CPU))
    assert apart is not None
    assert from_it is not None
    assert float(from_it) < 1e-4 < float(apart)
    both = torch.stack([gt[0], torch.zeros_like(gt[1])])  # the first is already perfect, the second is nothing like it
    target, _ = stage._seen(both, Pair(gt, worse, ()), StepNoise(0, 0, CPU))
    assert torch.equal(target[0], gt[0])
    assert not torch.equal(target[1], gt[1])
    half = torch.nn.functional.avg_pool2d(gt, 2)  # of another factor than the teacher's
    target, _ = stage._seen(torch.zeros_like(gt), Pair(gt, half, ()), StepNoise(0, 0, CPU))
    assert target is gt


def test_without_a_perceptual_term_none_can_be_chosen(quick: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"loss\.teachers needs loss\.perceptual"):
        _stage(quick("stage2", tmp_path, "loss.discriminator=none", "loss.teachers=[a]"))


def _stage(config: Config) -> Stage2:
    assert isinstance(config, Stage2Config)
    networks = start_networks(config.model, 0).to(CPU)
    return Stage2(networks, config.model, config.loss, config.loop, Accelerator(cpu=True), Validation(()))

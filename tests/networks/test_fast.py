"""The faster blocks beside the stock ones: equal up to rounding, in every way that the pipeline runs them."""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor

from ccsr import CCSRPipeline
from ccsr.networks.fast import LeanResnetBlock, PhaseUpsample, accelerate

STOCK = {LeanResnetBlock: ResnetBlock2D, PhaseUpsample: Upsample2D}


@pytest.fixture(scope="module")
def nano() -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained("nano")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def plain() -> CCSRPipeline:
    """The same model, of stock blocks."""
    pipeline = CCSRPipeline.from_pretrained("nano")
    pipeline.set_progress_bar_config(disable=True)
    for network in (pipeline.unet, pipeline.controlnet, pipeline.vae):
        for module in network.modules():
            module.__class__ = STOCK.get(type(module), type(module))
    return pipeline


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return data.astronaut()[40:88, 190:254].copy()


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max() / other.float().abs().max())


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 40), (1030, 1)])
def test_four_phases_are_enlargement_and_convolution(height: int, width: int, channels_last: bool) -> None:
    torch.manual_seed(0)
    block = Upsample2D(6, use_conv=True, out_channels=10).eval()
    x = torch.randn(3, 6, height, width)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    wanted = block(x)
    accelerate(block)
    assert type(block) is PhaseUpsample
    found = block(x)
    assert not torch.equal(found, wanted), "the other way of computing it was taken"
    assert found.shape == wanted.shape
    assert _difference(found, wanted) < 1e-5


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("out", [8, 12])
def test_the_lean_block_is_the_stock_one(time: bool, out: int) -> None:
    torch.manual_seed(0)
    block = ResnetBlock2D(in_channels=8, out_channels=out, temb_channels=16 if time else None, groups=4).eval()
    x, temb = torch.randn(2, 8, 9, 7), torch.randn(2, 16) if time else None
    wanted, before = block(x, temb), x.clone()
    accelerate(block)
    assert type(block) is LeanResnetBlock
    assert _difference(block(x, temb), wanted) < 1e-5
    assert torch.equal(x, before)


def test_what_is_no_plain_block_stays_as_it_is() -> None:
    torch.manual_seed(0)
    block = Upsample2D(4, use_conv=True, out_channels=4).eval()
    x = torch.randn(1, 4, 40, 32)
    wanted = block(x)
    accelerate(block)
    seen = []
    block.conv.register_forward_hook(lambda *_: seen.append(1))
    assert torch.equal(block(x), wanted)
    assert seen, "a hook on the convolution is still called"
    with torch.enable_grad():
        block(x).sum().backward()
    assert block.conv.weight.grad is not None


def test_weights_changed_later_count() -> None:
    torch.manual_seed(0)
    block = Upsample2D(4, use_conv=True, out_channels=4).eval()
    x = torch.randn(1, 4, 40, 32)
    accelerate(block)
    block(x)
    block.conv.weight.mul_(2)
    found = block(x)
    block.__class__ = Upsample2D
    assert _difference(found, block(x)) < 1e-5


def test_the_pipeline_has_them_and_keeps_names(nano: CCSRPipeline, plain: CCSRPipeline) -> None:
    for part in ("unet", "controlnet", "vae"):
        fast, stock = getattr(nano, part), getattr(plain, part)
        assert list(fast.state_dict()) == list(stock.state_dict())
        assert type(fast) is type(stock)
        kinds = {type(module) for module in fast.modules()}
        assert LeanResnetBlock in kinds
        assert not kinds & set(STOCK.values())
    assert any(type(module) is PhaseUpsample for module in nano.vae.modules())
    assert type(deepcopy(nano.vae).decoder.mid_block.resnets[0]) is LeanResnetBlock


WAYS = {
    "one step": {},
    "four steps": {"steps": 4},
    "guided": {"steps": 2, "guidance": 3.0},
    "tiled": {"tile": 128, "vae_tile": 128},
    "tiled and guided": {"tile": 128, "vae_tile": 128, "guidance": 3.0},
    "published tiles": {"compat": "v2", "scale": 4, "tile": 512, "vae_tile": 512, "min_size": 192},
}


@pytest.mark.parametrize("way", WAYS)
def test_fp32_is_equal_up_to_rounding(nano: CCSRPipeline, plain: CCSRPipeline, photo: np.ndarray, way: str) -> None:
    for pipeline in (nano, plain):
        # nano has no negative embedding; any will do here.
        pipeline.embeddings["negative"] = -pipeline.embeddings["positive"]
    options = {"dtype": "fp32", "output_type": "np", "device": "cpu", **WAYS[way]}
    found, wanted = (pipeline(photo, **options).images[0] for pipeline in (nano, plain))
    # Truncation to 8 bit, which the published program has, makes a grey level of any difference.
    bound = 1 / 255 + 1e-5 if "compat" in options else 2e-5
    assert np.abs(found - wanted).max() <= bound
    assert np.abs(found - wanted).mean() < 1e-5


@pytest.mark.parametrize("way", ["one step", "four steps", "guided", "tiled"])
def test_bf16_is_within_a_grey_level_of_fp32(plain: CCSRPipeline, photo: np.ndarray, way: str) -> None:
    options = {"output_type": "np", "device": "cpu", **WAYS[way]}
    fast = CCSRPipeline.from_pretrained("nano", torch_dtype=torch.bfloat16)
    fast.set_progress_bar_config(disable=True)
    for pipeline in (plain, fast):
        pipeline.embeddings["negative"] = -pipeline.embeddings["positive"]
    exact = plain(photo, dtype="fp32", **options).images[0]
    rounded = fast(photo, dtype="bf16", **options).images[0]
    assert 0 < np.abs(rounded - exact).mean() <= 1 / 255


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_number_format(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    blocks = [
        ResnetBlock2D(in_channels=8, out_channels=8, temb_channels=None, groups=4).eval().to(dtype),
        Upsample2D(8, use_conv=True, out_channels=8).eval().to(dtype),
    ]
    args = {ResnetBlock2D: (None,), Upsample2D: ()}
    x = torch.randn(1, 8, 36, 36).to(dtype)
    for block in blocks:
        more = args[type(block)]
        wanted = block(x, *more)
        accelerate(block)
        found = block(x, *more)
        assert found.dtype == dtype
        assert _difference(found, wanted) < {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}[dtype]


def test_every_residual_block_of_a_model_is_a_lean_one(nano: CCSRPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def stock(*_: object, **__: object) -> Tensor:
        raise AssertionError("a block that the lean one leaves to the stock one")

    monkeypatch.setattr(ResnetBlock2D, "forward", stock)
    nano(np.zeros((16, 16, 3), np.uint8))

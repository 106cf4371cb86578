"""The faster blocks beside the stock ones: equal up to rounding, in every way that the pipeline runs them."""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from ccsr import CCSRPipeline
from ccsr.networks.fast import PieceGroupNorm, accelerate, prepare
from ccsr.networks.fast_blocks import LeanResnetBlock, PhaseUpsample

STOCK = {LeanResnetBlock: ResnetBlock2D, PhaseUpsample: Upsample2D, PieceGroupNorm: nn.GroupNorm}


@pytest.fixture(scope="module")
def model(tiny: str) -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained(tiny)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def plain(tiny: str) -> CCSRPipeline:
    """The same model, of stock blocks."""
    pipeline = CCSRPipeline.from_pretrained(tiny)
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


def test_the_pipeline_has_them_and_keeps_names(model: CCSRPipeline, plain: CCSRPipeline) -> None:
    for part in ("unet", "controlnet", "vae"):
        fast, stock = getattr(model, part), getattr(plain, part)
        assert list(fast.state_dict()) == list(stock.state_dict())
        assert type(fast) is type(stock)
        kinds = {type(module) for module in fast.modules()}
        assert LeanResnetBlock in kinds
        assert not kinds & set(STOCK.values())
    assert any(type(module) is PhaseUpsample for module in model.vae.modules())
    assert type(deepcopy(model.vae).decoder.mid_block.resnets[0]) is LeanResnetBlock


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("rows", [1, 2])
def test_the_norm_is_exact_on_large_pictures(rows: int, offset: float) -> None:
    """Against float64, with brightness that changes over the picture; what lies channels last stays so."""
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 8, eps=1e-6)
    norm.weight.normal_(1, 0.1)
    norm.bias.normal_(0, 0.1)
    x = torch.randn(rows, 8, 515, 512) + offset + torch.linspace(-3, 3, 515)[:, None]
    x = x.contiguous(memory_format=torch.channels_last)
    exact = norm.double()(x.double())
    accelerate(norm.float())
    # A parent's own modules are what accelerate looks through; a norm by itself is one of them.
    assert type(norm) is PieceGroupNorm
    found = norm(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    # An offset of 100 deviations costs float32 two digits whatever is done.
    assert float((found - exact).abs().max() / exact.std()) < (2e-6 if offset == 0 else 2e-5)


def test_a_vae_at_512_is_within_1e_4_of_float64() -> None:
    """Of the published shape, four levels of narrow width: the encoder's moments and the decoder's picture."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    widths = (32, 32, 64, 64)
    vae = AutoencoderKL(
        3, 3, ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4, widths, 2, latent_channels=4, norm_num_groups=32
    ).eval().requires_grad_(False)  # fmt: skip
    picture = torch.rand(1, 3, 512, 576) + torch.linspace(-1, 1, 512)[:, None]
    latent = torch.randn(1, 4, 64, 72)
    vae.double()
    wanted = vae.encode(picture.double()).latent_dist.mean, vae.decode(latent.double()).sample
    prepare(vae.float())
    found = vae.encode(picture).latent_dist.mean, vae.decode(latent).sample
    for ours, exact in zip(found, wanted, strict=True):
        assert float((ours - exact).abs().max() / exact.std()) < 1e-4


WAYS = {
    "one step": {},
    "four steps": {"steps": 4},
    "guided": {"steps": 2, "guidance": 3.0},
    "tiled": {"tile": 128, "vae_tile": 128},
    "tiled and guided": {"tile": 128, "vae_tile": 128, "guidance": 3.0},
    "published tiles": {"compat": "v2", "scale": 4, "tile": 512, "vae_tile": 512, "min_size": 192},
}


@pytest.mark.parametrize("way", WAYS)
def test_fp32_is_equal_up_to_rounding(model: CCSRPipeline, plain: CCSRPipeline, photo: np.ndarray, way: str) -> None:
    for pipeline in (model, plain):
        # nano has no negative embedding; any will do here.
        pipeline.embeddings["negative"] = -pipeline.embeddings["positive"]
    options = {"dtype": "fp32", "output_type": "np", "device": "cpu", **WAYS[way]}
    found, wanted = (pipeline(photo, **options).images[0] for pipeline in (model, plain))
    # Truncation to 8 bit, which the published program has, makes a grey level of any difference.
    bound = 1 / 255 + 1e-5 if "compat" in options else 2e-5
    assert np.abs(found - wanted).max() <= bound
    assert np.abs(found - wanted).mean() < 1e-5


@pytest.mark.parametrize("way", ["one step", "four steps", "guided", "tiled"])
def test_nano_in_bf16_is_within_a_grey_level_of_fp32(photo: np.ndarray, way: str) -> None:
    options = {"output_type": "np", "device": "cpu", **WAYS[way]}
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        pipeline = CCSRPipeline.from_pretrained("nano", torch_dtype=dtype)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.embeddings["negative"] = -pipeline.embeddings["positive"]
        results.append(pipeline(photo, dtype="fp32" if dtype == torch.float32 else "bf16", **options).images[0])
    assert 0 < np.abs(results[0] - results[1]).mean() <= 1 / 255


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


def test_every_residual_block_of_a_model_is_a_lean_one(model: CCSRPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def stock(*_: object, **__: object) -> Tensor:
        raise AssertionError("a block that the lean one leaves to the stock one")

    monkeypatch.setattr(ResnetBlock2D, "forward", stock)
    model(np.zeros((16, 16, 3), np.uint8))

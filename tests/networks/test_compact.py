"""nano's networks: what they are before any training, and that a pixel depends on its surroundings alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from skimage import data
from torch import Tensor

from ccsr.data.pairs import Pair, enlarge
from ccsr.errors import WeightsError
from ccsr.networks import NANO, CompactAutoencoder, codec, denoise, make_network
from ccsr.networks.compact import TimeEmbedding, faint_lattice
from ccsr.training.codec_start import read_compact, start_codec
from ccsr.training.losses import to_ycbcr
from helpers import write_ncnn

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def _photo(name: str) -> Tensor:
    """(1, 3, 256, 256) in 0..1."""
    picture = np.asarray(getattr(data, name)())[40:296, 60:316, :3]
    return torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


@pytest.fixture(scope="module")
def vae() -> CompactAutoencoder:
    made: CompactAutoencoder = make_network("vae", NANO)
    start_codec(made, [Pair(_photo(name), _photo(name), ()) for name in PHOTOS], None)
    return made.eval()


@torch.no_grad()
def test_principal_components_give_clean_photos_back(vae: CompactAutoencoder) -> None:
    """40 dB of luma and 41.5 of chroma: what a codec must reach before any training."""
    found = []
    for name in PHOTOS:
        moments = codec.encode(vae, _photo(name))
        back = codec.decode(vae, codec.draw_latent(vae, moments, torch.randn_like(moments.mean)))
        ours, truth = to_ycbcr(back.clamp(0, 1)), to_ycbcr(_photo(name))
        found.append((_psnr(ours[:, :1], truth[:, :1]), _psnr(ours[:, 1:], truth[:, 1:])))
    luma, chroma = np.mean(found, 0)
    assert luma >= 40
    assert chroma >= 41.5


@torch.no_grad()
def test_latents_are_white(vae: CompactAutoencoder) -> None:
    latents = torch.cat([codec.encode(vae, _photo(name)).mean for name in PHOTOS])
    flat = latents.movedim(1, 0).flatten(1)
    torch.testing.assert_close(torch.cov(flat), torch.eye(16), atol=2e-3, rtol=0)


@torch.no_grad()
def test_the_low_quality_picture_is_read_out(vae: CompactAutoencoder) -> None:
    lq = torch.nn.functional.avg_pool2d(_photo(PHOTOS[-1]), 4)
    z = codec.encode(vae, enlarge(lq, (256, 256))).mean
    read = vae.decoder.read_lq(z * vae.deviation[:, None, None])
    assert _psnr(read, lq) >= 45


@torch.no_grad()
def test_smooth_pictures_have_no_lattice(vae: CompactAutoencoder) -> None:
    """A ramp comes back as a ramp: no period of the codec's blocks."""
    ramp = (torch.linspace(0.2, 0.8, 64) + torch.linspace(-0.1, 0.1, 64)[:, None]).expand(1, 3, 64, 64)
    back = codec.decode(vae, codec.draw_latent(vae, codec.encode(vae, ramp), None))
    assert float((back - ramp).abs().max()) < 1 / 255


def _blocks(picture: Tensor) -> Tensor:
    return torch.nn.functional.pixel_unshuffle(2 * picture - 1, 4)


def _levels(blocks: Tensor) -> float:
    """Root mean square in levels of 255 of a difference in -1..1."""
    return float(blocks.square().mean().sqrt() * 255 / 2)


def test_a_faint_pattern_goes_and_the_ramp_below_it_stays() -> None:
    ramp = (torch.linspace(0.2, 0.8, 64) + torch.linspace(-0.1, 0.1, 64)[:, None]).expand(1, 3, 64, 64)
    place = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    pattern = 0.4 / 255 * (place - place.mean((2, 3), keepdim=True)).repeat(1, 1, 16, 16)
    assert _levels(faint_lattice(_blocks(ramp))) < 0.05
    assert _levels(faint_lattice(_blocks(ramp + pattern)) - _blocks(pattern + 0.5)) < 0.06


def test_what_is_no_faint_pattern_stays() -> None:
    """Grain, which does not repeat, within a third of its size; a pattern of many levels; a photograph."""
    grain = 0.5 + 2 / 255 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert _levels(faint_lattice(_blocks(grain))) < 0.6
    strong = 0.5 + 20 / 255 * torch.tensor([1.0, -1, 0, 0]).repeat(16).expand(1, 3, 64, 64)
    assert _levels(faint_lattice(_blocks(strong))) < 0.1
    photo = _photo("coffee")
    assert _levels(faint_lattice(_blocks(photo))) < 1


@torch.no_grad()
def test_untrained_denoisers_give_the_input_back() -> None:
    unet, controlnet = (make_network(part, NANO) for part in ("unet", "controlnet"))
    z_t, z_lq = torch.randn(2, 2, 16, 12, 9)
    for t in (999, torch.tensor([3, 700])):
        torch.testing.assert_close(denoise(unet, controlnet, z_t, t, z_lq, torch.zeros(1, 1, 1)), z_lq)


@torch.no_grad()
def test_the_timestep_counts_for_each_row() -> None:
    torch.manual_seed(0)
    unet, controlnet = (make_network(part, NANO) for part in ("unet", "controlnet"))
    for network in (unet, controlnet):
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    z_t, z_lq = torch.randn(2, 2, 16, 8, 8)
    prompt = torch.zeros(1, 1, 1)
    both = denoise(unet, controlnet, z_t, torch.tensor([3, 700]), z_lq, prompt)
    for row, t in enumerate((3, 700)):
        alone = denoise(unet, controlnet, z_t[row : row + 1], t, z_lq[row : row + 1], prompt)
        torch.testing.assert_close(both[row : row + 1], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(both[:1], denoise(unet, controlnet, z_t[:1], 700, z_lq[:1], prompt), atol=1e-3)


def _widths(vae: CompactAutoencoder) -> list[tuple[int, int]]:
    return [(64, 3), *[(64, 64)] * vae.config.decoder_layers, (48, 64)]


@pytest.mark.parametrize("half", [True, False])
def test_a_trunk_begins_with_what_the_files_hold(half: bool, tmp_path: Path) -> None:
    vae: CompactAutoencoder = make_network("vae", NANO)
    wrote = write_ncnn(tmp_path / "trunk", _widths(vae), half)
    start_codec(vae, [Pair(_photo("coffee"), _photo("coffee"), ())], str(tmp_path / "trunk"))
    torch.testing.assert_close(vae.decoder.conv_out.weight, 2 * torch.from_numpy(wrote[-1]))
    assert not vae.decoder.conv_in.weight[:, 3:].any()
    assert float(vae.decoder.conv_in.weight[:, :3].detach().std()) == pytest.approx(1, abs=0.1)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    vae: CompactAutoencoder = make_network("vae", NANO)
    stem = tmp_path / "trunk"
    with pytest.raises(WeightsError, match="trunk: cannot be read"):
        read_compact(str(stem))
    write_ncnn(stem, _widths(vae), True)
    stem.with_suffix(".bin").write_bytes(stem.with_suffix(".bin").read_bytes() + b"more")
    with pytest.raises(WeightsError, match=r"trunk\.bin: has \d+ bytes where its layers take"):
        read_compact(str(stem))
    stem.with_suffix(".bin").write_bytes(b"short")
    with pytest.raises(WeightsError, match=r"trunk\.param: is no network of convolutions"):
        read_compact(str(stem))
    stem.with_suffix(".param").write_text("7767517\n1 1\n")
    stem.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="holds 0 convolutions of another shape than the decoder's 34"):
        start_codec(vae, [Pair(_photo("coffee"), _photo("coffee"), ())], str(stem))


PEER = Path(__file__).parents[3] / "shared" / "data" / "peers" / "realesr-general-x4v3"


@pytest.mark.skipif(not PEER.with_suffix(".bin").exists(), reason="the peer's weights are not here")
@torch.no_grad()
def test_a_real_trunk_computes_as_ncnn_does() -> None:
    pytest.importorskip("ncnn")
    from ccsr.compare.worker_program import ncnn_net

    lq = (torch.nn.functional.avg_pool2d(_photo("astronaut"), 4) * 255).round() / 255
    net, _ = ncnn_net({"param": f"{PEER}.param", "weights": f"{PEER}.bin", "threads": 1})
    theirs = np.asarray(net((lq[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), 256, 256))
    vae: CompactAutoencoder = make_network("vae", NANO)
    start_codec(vae, [Pair(_photo("astronaut"), lq, ())], str(PEER))
    decoder = vae.decoder
    seen = torch.cat([lq, torch.zeros(1, 16, 64, 64)], 1)
    trunk = decoder.conv_out(decoder.trunk(decoder.act_in(decoder.conv_in(seen)))) / 2
    ours = torch.nn.functional.pixel_shuffle(trunk, 4) + torch.nn.functional.interpolate(lq, scale_factor=4)
    ours = (ours.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs.astype(np.float32).clip(0, 255).round()).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_timesteps_are_embedded_as_diffusers_does(dtype: torch.dtype) -> None:
    ours = TimeEmbedding().to(dtype)
    theirs = TimestepEmbedding(64, 64).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    waves = Timesteps(64, flip_sin_to_cos=True, downscale_freq_shift=0)
    steps = torch.arange(1000)
    assert torch.equal(ours(steps), theirs(waves(steps).to(dtype)))


@torch.no_grad()
def test_a_posterior_is_that_of_diffusers_without_spread(vae: CompactAutoencoder) -> None:
    ours = vae.encode(torch.randn(2, 48, 6, 5)).latent_dist
    theirs = DiagonalGaussianDistribution(ours.parameters, deterministic=True)
    for found, wanted in ((ours.mean, theirs.mean), (ours.mode(), theirs.mode()), (ours.sample(), theirs.sample())):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("part", ["unet", "controlnet", "vae"])
def test_a_config_makes_the_same_network_again(part: str) -> None:
    network = make_network(part, NANO)
    config = json.loads(network.to_json_string())
    assert config["_class_name"] == NANO[part]["_class_name"]
    again = type(network).from_config(config)
    assert {n: t.shape for n, t in again.state_dict().items()} == {n: t.shape for n, t in network.state_dict().items()}
    assert json.loads(again.to_json_string()) == config
    assert again.config.block_out_channels == [64]
    with pytest.raises(AttributeError, match="there is no act_fn in this config"):
        _ = again.config.act_fn

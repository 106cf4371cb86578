"""The published program's stage-1 losses and gradients, and the paper's form against them."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ccsr.method.sampler import NoiseSchedule, add_noise, predict_x0
from ccsr.networks import codec
from ccsr.training.losses import lattice_loss, paper_losses, plain_loss, published_losses, ssim_loss, weave_loss
from ccsr.verify import recorded_networks
from conftest import GOLDEN

RECORD = json.loads((GOLDEN / "stage1_losses.json").read_text())


@pytest.mark.parametrize("batch", RECORD["batches"], ids=lambda b: f"batch{b['batch']}")
def test_recorded_losses(batch: dict[str, object]) -> None:
    tensors = {
        k.split(".", 1)[1]: v
        for k, v in load_file(GOLDEN / "stage1_losses.safetensors").items()
        if k.startswith(f"batch{batch['batch']}.")
    }
    networks, embeddings = recorded_networks(json.loads((GOLDEN / "cases.json").read_text()))
    networks.controlnet.requires_grad_(True)
    with torch.no_grad():
        # Recorded pictures: gt in -1..1, lq in 0..1, as the published loader gives them.
        z_gt = codec.draw_latent(
            networks.vae, codec.encode(networks.vae, tensors["gt"] / 2 + 0.5), tensors["gt_posterior"]
        )
        z_lq = codec.draw_latent(networks.vae, codec.encode(networks.vae, tensors["lq"]), tensors["lq_posterior"])
    torch.testing.assert_close(z_gt, tensors["z_gt"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(z_lq, tensors["z_lq"], rtol=1e-4, atol=1e-5)

    def predict(z_t: torch.Tensor, t: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
        prompt = embeddings["empty"].expand(len(z_t), -1, -1)
        down, mid = networks.controlnet(z_t, t, prompt, hint, return_dict=False)
        out: torch.Tensor = networks.unet(
            z_t, t, prompt, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        return out

    terms = published_losses(
        predict,
        networks.schedule,
        z_gt,
        z_lq,
        torch.tensor(batch["t"]),
        (tensors["noise"], tensors["noise_T"], tensors["noise_tmax"]),
        RECORD["t_max_index"],
        start_from_lq=bool(batch["start_from_lq"]),
    )
    for name, recorded in (("diffusion", "l_diff"), ("x0_at_T", "l_T"), ("x0_at_t_max", "l_tmax")):
        assert float(terms[name].detach()) == pytest.approx(batch[recorded], rel=1e-4)
    total = torch.stack(list(terms.values())).sum()
    assert float(total.detach()) == pytest.approx(batch["total"], rel=1e-4)
    total.backward()
    norms = [p.grad.norm() for p in networks.controlnet.parameters() if p.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(batch["controlnet_gradient_norm"], rel=1e-3)
    # Recorded of the weight alone: with the bias the norm would be half a percent larger.
    hint = networks.controlnet.condition_conv_in.weight.grad
    assert hint is not None
    assert float(hint.norm()) == pytest.approx(batch["condition_conv_in_gradient_norm"], rel=1e-3)


def test_the_paper_form_is_the_mean_over_samples() -> None:
    """Each sample's own loss, computed one by one from the paper's equations, averaged."""
    schedule = NoiseSchedule.scaled_linear(prediction_type="v_prediction")
    generator = torch.Generator().manual_seed(0)
    z_gt, z_lq, n0, n1, n2 = torch.randn(5, 3, 4, 6, 6, generator=generator)
    t = torch.tensor([999, 999, 250])

    def predict(z: torch.Tensor, t: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
        return 0.3 * z - 0.2 * hint + t.view(-1, 1, 1, 1) / 1000

    terms = paper_losses(predict, schedule, z_gt, z_lq, t, (n0, n1, n2), renoise=499)
    expected = []
    for i in range(3):
        one = slice(i, i + 1)
        z_t = add_noise(schedule, z_gt[one], n0[one], int(t[i]))
        out = predict(z_t, t[one], z_lq[one])
        if t[i] == 999:
            x0 = predict_x0(schedule, z_t, out, 999)
            again = add_noise(schedule, x0, n2[one], 499)
            second = predict_x0(schedule, again, predict(again, torch.tensor([499]), z_lq[one]), 499)
            expected.append(((x0 - z_gt[one]) ** 2).mean() + ((second - z_gt[one]) ** 2).mean())
        else:
            a = schedule.alpha_bar[250]
            expected.append(((out - (a.sqrt() * n0[one] - (1 - a).sqrt() * z_gt[one])) ** 2).mean())
    torch.testing.assert_close(torch.stack(list(terms.values())).sum(), torch.stack(expected).mean())


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_diffusion_term_is_that_of_the_noise_up_to_the_cap(kind: Any) -> None:
    """Paper Eq. 2 whatever the network returns; beyond the cap the squared error of the clean latent times it."""
    schedule = NoiseSchedule.scaled_linear(prediction_type=kind)
    z_gt, z_lq, noise, wrong = torch.randn(4, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    for t in (999, 500, 100):
        a = schedule.alpha_bar[t]
        z_t = add_noise(schedule, z_gt, noise, t)
        guess = noise + 0.1 * wrong  # as a network of any kind would have said it
        x0 = (z_t - (1 - a).sqrt() * guess) / a.sqrt()
        said = {"epsilon": guess, "sample": x0, "v_prediction": a.sqrt() * guess - (1 - a).sqrt() * x0}[kind]
        ratio = a / (1 - a)
        expected = min(1.0, 0.5 / float(ratio)) * ((guess - noise) ** 2).mean()
        found = plain_loss(lambda *_, said=said: said, schedule, z_gt, z_lq, torch.tensor([t]), noise, 0.5)
        torch.testing.assert_close(found["diffusion"], expected, rtol=1e-3, atol=1e-5)


def test_at_T_the_paper_form_starts_from_the_input_where_asked() -> None:
    """Paper Eq. 1 from either latent; the other samples are noised from the good one always."""
    schedule = NoiseSchedule.scaled_linear(prediction_type="v_prediction")
    z_gt, z_lq, noise = torch.randn(3, 2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []

    def predict(z: torch.Tensor, t: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        return z

    t = torch.tensor([999, 250])
    paper_losses(predict, schedule, z_gt, z_lq, t, (noise, noise, noise), start_from_lq=True)
    a = schedule.alpha_bar[t].view(2, 1, 1, 1)
    torch.testing.assert_close(seen[0], a.sqrt() * torch.stack([z_lq[0], z_gt[1]]) + (1 - a).sqrt() * noise)


def test_picture_losses_see_colour() -> None:
    """Y of BT.601 from scikit-image; a shift of chroma alone costs more than one of luma of the same size."""
    from skimage.color import rgb2ycbcr

    from ccsr.training.losses import picture_loss, to_ycbcr

    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    theirs = rgb2ycbcr(picture[0].permute(1, 2, 0).numpy())
    ours = to_ycbcr(picture)[0].permute(1, 2, 0).numpy()
    assert abs(ours[..., 0] - (theirs[..., 0] - 16) / 219).max() < 1e-4
    assert abs(ours[..., 1:] - (theirs[..., 1:] - 128) / 224).max() < 1e-4
    assert float(picture_loss(picture, picture, 2.0)) == 0
    blue = picture + torch.tensor([0.0, -0.05 * 0.114 / 0.587, 0.05]).view(1, 3, 1, 1)  # the same Y
    assert float(picture_loss(blue, picture, 4.0)) > 1.9 * float(picture_loss(blue, picture, 2.0)) > 0


def test_ssim_loss_is_the_metric() -> None:
    """Against scikit-image with the paper's Gaussian window, on luma; its border is the same as ours: left out."""
    from skimage.metrics import structural_similarity

    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(1, 1, 40, 48, generator=generator).expand(-1, 3, -1, -1)
    sr = (gt + 0.2 * torch.rand(1, 1, 40, 48, generator=generator)).clamp(0, 1)
    a, b = (x[0, 0].double().numpy() for x in (sr, gt))
    _, whole = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True
    )
    assert float(ssim_loss(sr, gt)) == pytest.approx(1 - whole[5:-5, 5:-5].mean(), abs=1e-5)
    assert float(ssim_loss(gt, gt)) == pytest.approx(0, abs=1e-5)


def test_lattice_loss_is_the_pattern_of_the_blocks_alone() -> None:
    gt = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    pattern = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    pattern = pattern - pattern.mean((2, 3), keepdim=True)
    sr = gt + 0.1 + pattern.repeat(1, 1, 6, 10)  # a cast is no pattern
    assert float(lattice_loss(sr, gt, 4)) == pytest.approx(2 * float(pattern.abs().mean()), rel=1e-4)
    assert float(lattice_loss(gt + 0.1, gt, 4)) == pytest.approx(0, abs=1e-6)
    once = gt.clone()
    once[..., 4:8, 8:12] += pattern  # in one block of sixty it is detail, not a pattern
    assert float(lattice_loss(once, gt, 4)) == pytest.approx(2 * float(pattern.abs().mean()) / 60, rel=1e-3)


def test_weave_loss_is_one_frequency_in_all_textures_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)

    def texture(steepness: float = 1.0) -> torch.Tensor:
        """Power falls with frequency, as a photograph's does."""
        f = torch.fft.fftfreq(128)
        noise = torch.fft.fft2(torch.randn(8, 3, 128, 128, generator=generator))
        made = torch.fft.ifft2(noise / torch.hypot(f[:, None], f).clamp(min=1 / 128) ** steepness).real
        return (0.5 + 0.12 * made / made.std()).clamp(0, 1)

    gt, weave = texture(), 0.03 * torch.cos(2 * torch.pi * 21 / 64 * torch.arange(128))
    grain = 0.03 * torch.randn(gt.shape, generator=generator)
    for harmless in (gt, gt + grain, 0.5 + 1.3 * (gt - 0.5), texture(), texture(1.5), texture(0.7)):
        assert float(weave_loss(harmless, gt)) == 0
    faint, plain = (float(weave_loss(gt + a * weave, gt)) for a in (0.2, 1))
    assert 0 < faint < plain
    assert float(weave_loss(gt + weave[:, None], gt)) == pytest.approx(plain, rel=0.2)
    assert float(weave_loss(gt + weave, gt + weave)) == 0  # cloth that is woven so
    flat = torch.full((2, 3, 64, 64), 0.5)
    assert float(weave_loss(flat, flat)) == 0
    sr = (gt + weave).requires_grad_()
    weave_loss(sr, gt).backward()
    down = float((sr.grad * weave).sum())
    assert down > 0  # less of it is better

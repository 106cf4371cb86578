"""Against the specification's figures and diffusers' own scheduler."""

from fractions import Fraction

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ccsr.errors import WeightsError
from ccsr.method.sampler import NoiseSchedule, SamplingStep, add_noise, ddpm_step, predict_x0, sample, training_target
from ccsr.method.timesteps import nuts_trajectory, uniform_trajectory

SCHEDULE = NoiseSchedule.scaled_linear()


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (0, 0.999149978),
        (1, 0.998296022),
        (333, 0.534961879),
        (499, 0.27766943),
        (582, 0.178824872),
        (606, 0.155042797),
        (665, 0.105804853),
        (667, 0.104359478),
        (831, 0.0278658923),
        (999, 0.00466009509),
    ],
)
def test_alpha_bar(t: int, expected: float) -> None:
    assert float(SCHEDULE.alpha_bar[t]) == pytest.approx(expected, rel=2e-7)


@pytest.mark.parametrize("T", [6, 12, 18])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_step_equals_diffusers(T: int, kind: str) -> None:
    theirs = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type=kind,
    )
    theirs.set_timesteps(T)
    schedule = NoiseSchedule.scaled_linear(prediction_type=kind)  # type: ignore[arg-type]
    stride = 1000 // T
    for t in theirs.timesteps.tolist():
        z, output = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(t))
        expected = theirs.step(output, t, z, generator=torch.Generator().manual_seed(1))
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
        x0 = predict_x0(schedule, z, output, t)
        torch.testing.assert_close(x0, expected.pred_original_sample, rtol=1e-5, atol=1e-5)
        ours = ddpm_step(schedule, z, x0, t, t - stride, noise)
        torch.testing.assert_close(ours, expected.prev_sample, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("T", "t", "coefficients"),
    [
        (6, 499, (0.487000748, 0.463826092, 0.556452865)),
        (12, 582, (0.228429896, 0.705911302, 0.559580345)),
        (18, 496, (0.182800391, 0.786902312, 0.441219784)),
        (6, 1, (1, 0, 1e-10)),
    ],
)
def test_step_coefficients(T: int, t: int, coefficients: tuple[float, float, float]) -> None:
    zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    found = [
        float(ddpm_step(SCHEDULE, z, x0, t, t - 1000 // T, noise))
        for x0, z, noise in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
    ]
    assert found == pytest.approx(coefficients, rel=3e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("t", [1, 499, 999])
def test_the_target_leads_back_to_the_clean_latent(kind: str, t: int) -> None:
    schedule = NoiseSchedule.scaled_linear(prediction_type=kind)  # type: ignore[arg-type]
    x0, noise = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    z_t = add_noise(schedule, x0, noise, t)
    target = training_target(schedule, x0, noise, t)
    torch.testing.assert_close(predict_x0(schedule, z_t, target, t), x0, rtol=1e-3, atol=1e-3)


def test_indices_per_sample() -> None:
    x0, noise = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    together = add_noise(SCHEDULE, x0, noise, torch.tensor([0, 500, 999]))
    for i, t in enumerate((0, 500, 999)):
        torch.testing.assert_close(together[i : i + 1], add_noise(SCHEDULE, x0[i : i + 1], noise[i : i + 1], t))


def test_x0_is_float32_whatever_the_network() -> None:
    half = torch.ones(1, 4, 2, 2, dtype=torch.bfloat16)
    assert predict_x0(SCHEDULE, half, half, 999).dtype == torch.float32


def test_a_perfect_network_returns_the_clean_latent() -> None:
    """With the true noise of each latent as its output, every trajectory ends at x0."""
    x0 = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(3))

    def perfect(z_t: torch.Tensor, t: int, first: bool) -> torch.Tensor:
        a = SCHEDULE.alpha_bar[t]
        return (z_t - a.sqrt() * x0) / (1 - a).sqrt()

    def draw(name: str) -> torch.Tensor:
        return torch.randn(x0.shape, generator=torch.Generator().manual_seed(hash(name) % 1000))

    for trajectory in (nuts_trajectory(18, 2 / 3, 1 / 2), uniform_trajectory(7), nuts_trajectory(1, 1, 0)):
        torch.testing.assert_close(sample(perfect, SCHEDULE, trajectory, x0, draw), x0, rtol=1e-4, atol=1e-4)


def test_draws_and_evaluations_in_order() -> None:
    names: list[str] = []
    seen: list[tuple[int, int]] = []

    def draw(name: str) -> torch.Tensor:
        names.append(name)
        return torch.zeros(1, 4, 2, 2)

    sample(
        lambda z, t, first: z,
        SCHEDULE,
        nuts_trajectory(12, 2 / 3, 1 / 2),
        torch.zeros(1, 4, 2, 2),
        draw,
        lambda e: seen.append((e.index, e.t)),
    )
    assert names == ["start", "renoise", "step1"]
    assert seen == [(0, 999), (1, 582), (2, 499)]


def test_a_start_that_is_not_evaluated() -> None:
    """Noised to 999, evaluated at 831, and nothing of it is the start's own evaluation."""
    schedule = NoiseSchedule.scaled_linear()
    trajectory = nuts_trajectory(6, 1, Fraction(1, 2)).without_start()
    seen: list[tuple[int, bool]] = []
    steps: list[SamplingStep] = []

    def predict(z_t: Tensor, t: int, is_start: bool) -> Tensor:
        seen.append((t, is_start))
        return z_t / 2

    draws = {name: torch.randn(1, 4, 2, 2) for name in ("start", "step0", "step1")}
    z_lq = torch.randn(1, 4, 2, 2)
    sample(predict, schedule, trajectory, z_lq, draws.__getitem__, steps.append)
    assert seen == [(831, False), (665, False), (499, False)]
    assert torch.equal(steps[0].z_t, add_noise(schedule, z_lq, draws["start"], 999))
    first = steps[0]
    assert torch.equal(steps[1].z_t, ddpm_step(schedule, first.z_t, first.x0, 831, 665, draws["step0"]))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("beta_schedule", "linear"), ("timestep_spacing", "trailing"), ("steps_offset", 0),
     ("rescale_betas_zero_snr", True), ("clip_sample", True), ("num_train_timesteps", 500),
     ("trained_betas", [0.1]), ("prediction_type", "flow")],
)  # fmt: skip
def test_a_setting_that_is_not_followed_is_named(setting: str, value: object) -> None:
    with pytest.raises(WeightsError, match=f"its {setting} is"):
        NoiseSchedule.from_config({"beta_start": 0.00085, "beta_end": 0.012, setting: value})


def test_the_file_of_sd_21_is_followed() -> None:
    """As published with the base model: a PNDM file, whose own settings DDPM does not have."""
    published = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
                 "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "set_alpha_to_one": False,
                 "skip_prk_steps": True, "clip_sample": False, "prediction_type": "epsilon"}  # fmt: skip
    found = NoiseSchedule.from_config(published)
    assert torch.equal(found.alpha_bar, SCHEDULE.alpha_bar)
    assert NoiseSchedule.from_config({**published, "prediction_type": "v_prediction"}).prediction_type == "v_prediction"

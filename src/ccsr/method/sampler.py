"""The method on one page: noise schedule, the step, and the loop over a trajectory of timesteps.

Plain functions that inference and training share. Latents are scaled by the VAE factor; `t` is an index 0..999, and
the paper's T is index 999. Source: the paper, III-B and III-D; ccsr-spec 1.2, 1.4, 1.5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ccsr.errors import WeightsError
from ccsr.method.timesteps import NUM_TIMESTEPS, Trajectory
from ccsr.networks.banded import by_bands

PredictionType = Literal["epsilon", "v_prediction", "sample"]
_FOLLOWED: dict[str, Any] = {
    "num_train_timesteps": NUM_TIMESTEPS,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
    "clip_sample": False,
    "thresholding": False,
}
"""Settings of SD 2.1's scheduler file (ccsr-spec 1.2); the published program would follow another value."""


@dataclass(frozen=True)
class NoiseSchedule:
    """`alpha_bar[t]`, float32 (1000,): the share of the signal's variance that is left at index t (ccsr-spec 1.2)."""

    alpha_bar: Tensor
    prediction_type: PredictionType = "epsilon"

    @classmethod
    def scaled_linear(
        cls, start: float = 0.00085, end: float = 0.012, prediction_type: PredictionType = "epsilon"
    ) -> "NoiseSchedule":
        """Betas whose square roots are evenly spaced between those of `start` and `end`, in float32 throughout."""
        betas = torch.linspace(start**0.5, end**0.5, NUM_TIMESTEPS, dtype=torch.float32) ** 2
        return cls(torch.cumprod(1 - betas, dim=0), prediction_type)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "NoiseSchedule":
        """The schedule of a scheduler's file. Settings that would change the noise or the grid are not ignored.

        Raises:
            WeightsError: it names a setting that the method does not follow.
        """
        for name, followed in _FOLLOWED.items():
            if (value := config.get(name, followed)) != followed:
                raise WeightsError(
                    f"its {name} is {value!r}, and the method follows {followed!r} only", path="scheduler_config.json"
                )
        kind = config.get("prediction_type", "epsilon")
        if kind not in get_args(PredictionType):
            raise WeightsError(f"its prediction_type is {kind!r}", path="scheduler_config.json")
        return cls.scaled_linear(config.get("beta_start", 0.00085), config.get("beta_end", 0.012), kind)

    def at(self, t: int | Tensor, like: Tensor) -> Tensor:
        """`alpha_bar` at one index, or at one per sample, shaped to multiply `like` (B, C, h, w)."""
        index = torch.as_tensor(t, device="cpu").reshape(-1, 1, 1, 1)
        return self.alpha_bar[index].to(like.device)


def add_noise(schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
    """Latent at index `t` of a clean one: sqrt(a) x0 + sqrt(1 - a) noise (paper Eq. 1). All (B, C, h, w)."""
    a = schedule.at(t, x0)
    return by_bands(lambda x0, noise: a.sqrt() * x0 + (1 - a).sqrt() * noise, x0, noise)


def predict_x0(schedule: NoiseSchedule, z_t: Tensor, output: Tensor, t: int | Tensor) -> Tensor:
    """The clean latent that the network's output at index `t` stands for, float32, not clipped (ccsr-spec 1.5).

    `z_t` and `output` are (B, C, h, w); `output` is the noise, the velocity or the clean latent itself, as
    `schedule.prediction_type` says.
    """
    z_t, output = z_t.float(), output.float()
    a = schedule.at(t, z_t)
    match schedule.prediction_type:
        case "epsilon":
            return by_bands(lambda z_t, output: (z_t - (1 - a).sqrt() * output) / a.sqrt(), z_t, output)
        case "v_prediction":
            return by_bands(lambda z_t, output: a.sqrt() * z_t - (1 - a).sqrt() * output, z_t, output)
        case "sample":
            return output


def training_target(schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
    """What the network should return for `add_noise(x0, noise, t)`: noise, velocity or x0, by prediction type."""
    a = schedule.at(t, x0)
    match schedule.prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            return a.sqrt() * noise - (1 - a).sqrt() * x0
        case "sample":
            return x0


def ddpm_step(schedule: NoiseSchedule, z_t: Tensor, x0: Tensor, t: int, previous: int, noise: Tensor) -> Tensor:
    """Draw the latent at index `previous` from the posterior given `z_t` and the estimate `x0` (ccsr-spec 1.5).

    A negative `previous` stands for the clean picture. The order of the operations is the published program's.
    """
    a = schedule.at(t, z_t)
    a_previous = schedule.at(previous, z_t) if previous >= 0 else torch.ones_like(a)
    ratio = a / a_previous
    beta = 1 - ratio
    variance = ((1 - a_previous) / (1 - a) * beta).clamp(min=1e-20)

    def drawn(z_t: Tensor, x0: Tensor, noise: Tensor) -> Tensor:
        mean = a_previous.sqrt() * beta / (1 - a) * x0 + ratio.sqrt() * (1 - a_previous) / (1 - a) * z_t
        return mean + variance.sqrt() * noise

    return by_bands(drawn, z_t, x0, noise)


@dataclass(frozen=True)
class SamplingStep:
    """One evaluation of the network, as `on_step` sees it."""

    index: int
    t: int
    z_t: Tensor
    output: Tensor
    x0: Tensor


def sample(
    predict: Callable[[Tensor, int, bool], Tensor],
    schedule: NoiseSchedule,
    trajectory: Trajectory,
    z_start: Tensor | None,
    draw: Callable[[str], Tensor],
    on_step: Callable[[SamplingStep], None] | None = None,
) -> Tensor:
    """Run the chain; returns the last x0 estimate, (B, C, h, w) float32.

    Args:
        predict: network output for (z_t, t, the start's own?), guidance included.
        z_start: latent that is noised to the first index (the low-quality picture's), or None to start from pure noise.
        draw: standard normal tensor for the name `start`, `renoise`, `step1`, `step2`...: the caller owns randomness.
        on_step: sees every evaluation; intermediates and recorded values hang on it.

    The step after the last evaluation is never computed: the estimate made there is the result (paper III-D).
    """
    timesteps = trajectory.timesteps
    start = timesteps[0] if trajectory.start is None else trajectory.start
    z_t = draw("start") if z_start is None else add_noise(schedule, z_start, draw("start"), start)
    x0 = z_t
    for i, t in enumerate(timesteps):
        output = predict(z_t, t, i == 0 and trajectory.start is None)
        x0 = predict_x0(schedule, z_t, output, t)
        if on_step:
            on_step(SamplingStep(i, t, z_t, output, x0))
        if i + 1 == len(timesteps):
            break
        if i == 0 and trajectory.renoise is not None:
            z_t = add_noise(schedule, x0, draw("renoise"), trajectory.renoise)
        else:
            z_t = ddpm_step(schedule, z_t, x0, t, trajectory.previous[i], draw(f"step{i}"))
    return x0

"""TrainingStage 1: the networks learn the clean latent from the low-quality one, at T, after the jump, and in between.

Also the pre-training's denoiser, which is the same with the plain loss.
"""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from ccsr.data.pairs import Pair, enlarge
from ccsr.method.timesteps import LAST
from ccsr.networks import codec
from ccsr.training.config import DenoiserLoss, LoopConfig, ModelConfig, Part
from ccsr.training.loop import StepNoise, Trainee, ValidationResult
from ccsr.training.losses import Predict, paper_losses, plain_loss, published_losses
from ccsr.training.networks import Denoiser, ModelInTraining
from ccsr.training.validation import Validation, judge
from ccsr.weights.tensors import DTYPES


class Precision:
    """Number format of a run: `with precision():` networks compute in it, `dtype` is what frozen ones are kept in."""

    def __init__(self, loop: LoopConfig, device: torch.device) -> None:
        self.dtype = None if loop.precision in ("auto", "fp32") else DTYPES[loop.precision]
        self._kind = device.type

    def __call__(self) -> torch.autocast:
        """Autocast, or nothing for fp32."""
        return torch.autocast(self._kind, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)


def predictor(networks: ModelInTraining, precision: Precision) -> Predict:
    """The denoiser under autocast; what goes in and comes out is float32."""

    def predict(z_t: Tensor, t: Tensor, z_lq: Tensor) -> Tensor:
        with precision():
            output: Tensor = networks.denoiser(z_t, t.to(z_t.device), z_lq)
        return output

    return predict


def latent_losses(
    networks: ModelInTraining, loss: DenoiserLoss, precision: Precision, predict: Predict, pair: Pair, draws: StepNoise
) -> dict[str, Tensor]:
    """What the denoiser learns of one batch, in the latent space."""
    schedule = networks.schedule
    z_gt, z_lq = _latents(networks, precision, pair, draws)
    count, device = len(z_gt), z_gt.device
    t = torch.from_numpy(draws.rng.integers(*loss.t_range, size=count)).to(device)
    noises = (draws.normal(z_gt.shape), draws.normal(z_gt.shape), draws.normal(z_gt.shape))
    if loss.form == "plain":
        return plain_loss(predict, schedule, z_gt, z_lq, t, noises[0], loss.snr_cap)
    renoise = int(draws.rng.choice(loss.renoise))
    from_lq = loss.start == "lq"
    if loss.form == "published":
        return published_losses(predict, schedule, z_gt, z_lq, t, noises, renoise, from_lq, loss.snr_cap)
    # The share is met on average, also by batches of one.
    t[: int(loss.share_at_T * count + draws.rng.random())] = LAST
    return paper_losses(predict, schedule, z_gt, z_lq, t, noises, renoise, from_lq, loss.snr_cap)


def _latents(networks: ModelInTraining, precision: Precision, pair: Pair, draws: StepNoise) -> tuple[Tensor, Tensor]:
    """Posterior draws of the good and of the enlarged low-quality picture, scaled (ccsr-spec 5.2)."""
    vae, up = networks.vae, enlarge(pair.lq, (pair.gt.shape[-2], pair.gt.shape[-1]))
    with torch.no_grad(), precision():
        moments = codec.encode(vae, torch.cat([pair.gt, up]))
    z = codec.draw_latent(vae, moments, draws.normal(moments.mean.shape))
    z_gt, z_lq = z.chunk(2)
    return z_gt, z_lq


def start_learning(networks: ModelInTraining, parts: Sequence[Part], *, checkpointing: bool) -> None:
    """Let these parts of a frozen denoiser ask for gradients."""
    denoiser = networks.denoiser
    for module in parts_of(denoiser, parts):
        module.requires_grad_(True)
        if checkpointing:
            module.enable_gradient_checkpointing()
    if "controlnet" in parts and "unet" not in parts and checkpointing:
        # The gradient reaches the ControlNet through the UNet's decoder.
        denoiser.unet.enable_gradient_checkpointing()
    denoiser.prompt.requires_grad_("prompt" in parts)


def parts_of(denoiser: Denoiser, parts: Sequence[Part]) -> list[Any]:
    """The networks among `parts`."""
    return [getattr(denoiser, part) for part in ("unet", "controlnet") if part in parts]


class Stage1:
    """Training of ControlNet, UNet and prompt, whichever `model.trained` names."""

    def __init__(
        self,
        networks: ModelInTraining,
        model: ModelConfig,
        loss: DenoiserLoss,
        loop: LoopConfig,
        accelerator: Accelerator,
        validation: Validation,
    ) -> None:
        self.networks, self.loss, self.device = networks, loss, accelerator.device
        self.precision = Precision(loop, self.device)
        self.predict = predictor(networks, self.precision)
        self.validation = validation
        networks.freeze(self.precision.dtype, keep=parts_of(networks.denoiser, model.trained))
        start_learning(networks, model.trained, checkpointing=loop.checkpointing)
        self.trainees: list[Trainee] = [Trainee("denoiser", networks.denoiser, self.losses)]

    def losses(self, pair: Pair, draws: StepNoise, step: int) -> dict[str, Tensor]:
        """The terms of one pass."""
        return latent_losses(self.networks, self.loss, self.precision, self.predict, pair, draws)

    def evaluate(self) -> ValidationResult | None:
        """Scores of the present weights."""
        return judge(self.networks, self.predict, self.validation, self.device)

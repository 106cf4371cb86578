"""TrainingStage 2 (DeFT): the decoder learns on the very latents that inference gives it; all else stays as it is.

Source: the paper, III-C; ccsr-spec 6. For small models the denoiser can learn along, from pictures through the decoder.
"""

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, mse_loss

from ccsr.data.pairs import Pair, enlarge
from ccsr.errors import OptionError, WeightsError
from ccsr.metrics.features import SHIPPED, FeatureNetwork, feature_distances, load_features
from ccsr.networks import codec
from ccsr.networks.discriminators import PatchGAN, ProjectedDiscriminator
from ccsr.networks.vit import load_vit
from ccsr.training.config import SHIPPED_NETWORK, DecoderLoss, LoopConfig, ModelConfig
from ccsr.training.loop import StepNoise, Trainee, ValidationResult
from ccsr.training.losses import lattice_loss, picture_loss, ssim_loss, weave_loss
from ccsr.training.networks import Denoiser, ModelInTraining
from ccsr.training.stage1 import Precision, latent_losses, parts_of, predictor, start_learning
from ccsr.training.teachers import FACTOR, Teacher, taught
from ccsr.training.validation import Validation, judge, super_resolve
from ccsr.weights.tensors import read_tensors

_STRIDE, _LEAST = 16, 32
"""Of the deepest map of either feature network; the shortest side that SqueezeNet takes."""
_SCALES = (2.0**16, 2.0**12, 2.0**8, 2.0**4, 1.0)
"""Factors of a loss under fp16, tried in turn until its gradient is finite; the first is GradScaler's own."""


def _weights(path: str) -> dict[str, Tensor]:
    if path == SHIPPED_NETWORK:
        return read_tensors(SHIPPED)
    if not Path(path).is_file():
        raise WeightsError("there is no such file", path=path, hint="loss.* names the networks that judge")
    return read_tensors(Path(path))


class Decoder(nn.Module):
    """The trained part of the VAE under the names it has there, and the denoiser where it learns along."""

    def __init__(self, vae: Any, post_quant: bool, denoiser: Denoiser | None, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.decoder = vae.decoder
        self.decoder.requires_grad_(True)
        if post_quant:
            self.post_quant_conv = vae.post_quant_conv
            self.post_quant_conv.requires_grad_(True)
        if denoiser:
            self.denoiser = denoiser
        if encoder:
            self.encoder = encoder
            self.encoder.requires_grad_(True)


class Critic(nn.Module):
    """A discriminator that may look at the input: `critic(picture, lq_up)` with pictures in 0..1, larger is better."""

    def __init__(self, loss: DecoderLoss) -> None:
        super().__init__()
        self.judge: PatchGAN | ProjectedDiscriminator
        if loss.discriminator == "projected":
            features, semantics = (load_vit(_weights(path)) for path in (loss.features or "", loss.semantics or ""))
            self.judge = ProjectedDiscriminator(features, semantics)
        else:
            self.judge = PatchGAN(loss.filters, conditional=loss.conditional)

    def forward(self, picture: Tensor, lq_up: Tensor, draws: StepNoise) -> Tensor:
        """Logits of any shape, one row per picture."""
        if isinstance(self.judge, ProjectedDiscriminator):
            return self.judge(picture, lq_up, draws.rng)
        return self.judge(picture, lq_up)


def _mover(size: torch.Size, draws: StepNoise, zoom: tuple[float, float] | None = None) -> Callable[[Tensor], Tensor]:
    """Takes pictures (B, C, H, W) without up to a stride of the feature network at the top and the left, flipped or
    not, and resized by factors within `zoom`.

    Always at the same place, a network with strides rewards a lattice of their period, which shows in flat areas. Sides
    of `_LEAST` stay, and none is made shorter.
    """
    height, width = size[-2:]
    top, left = (int(draws.rng.integers(min(_STRIDE, max(1, side - _LEAST + 1)))) for side in (height, width))
    flips = [axis for axis in (-2, -1) if draws.rng.random() < 0.5]
    sides = [height - top, width - left]
    if zoom:
        sides = [max(min(side, _LEAST), round(side * draws.rng.uniform(*zoom))) for side in sides]

    def move(pictures: Tensor) -> Tensor:
        moved = pictures[..., top:, left:].flip(flips)
        return interpolate(moved, sides, mode="bilinear") if zoom else moved

    return move


class Stage2:
    """Training of the decoder, alone or against a discriminator."""

    def __init__(
        self,
        networks: ModelInTraining,
        model: ModelConfig,
        loss: DecoderLoss,
        loop: LoopConfig,
        accelerator: Accelerator,
        validation: Validation,
    ) -> None:
        self.networks, self.loss, self.device = networks, loss, accelerator.device
        self.precision = Precision(loop, self.device)
        self.validation = validation
        networks.freeze(self.precision.dtype, keep=[networks.vae, *parts_of(networks.denoiser, model.trained)])
        start_learning(networks, model.trained, checkpointing=loop.checkpointing)
        encoder = networks.vae.encoder if "vae" in model.trained else None
        self.predict = predictor(networks, self.precision)
        self.joint = bool(model.trained)
        self.grids: list[tuple[int, tuple[Fraction, ...]]] = [(T, ()) for T in loss.grids]
        self.grids += [(T, (Fraction(t_max), Fraction(t_min))) for T, t_max, t_min in loss.other_grids or ()]
        decoder = Decoder(networks.vae, loss.post_quant, networks.denoiser if self.joint else None, encoder)
        if loop.checkpointing:
            networks.vae.enable_gradient_checkpointing()
        self.features: FeatureNetwork | None = None
        if loss.perceptual:
            heads = _weights(loss.perceptual_heads) if loss.perceptual_heads else None
            self.features = load_features(_weights(loss.perceptual), heads).to(self.device)
        if loss.teachers and self.features is None:
            raise OptionError("loss.teachers needs loss.perceptual, which says where a teacher knows better")
        self.teachers = [Teacher(path).to(self.device) for path in loss.teachers]
        self.critic: Critic | None = None
        self.trainees = [Trainee("decoder", decoder, self.losses)]
        if loss.discriminator != "none":
            # Drawn after the model's own random parts, so that these do not depend on it.
            self.critic = Critic(loss).to(self.device)
            self.trainees.append(Trainee("critic", self.critic, self.critic_losses))
        self._made: tuple[Tensor, Tensor] | None = None

    def losses(self, pair: Pair, draws: StepNoise, step: int) -> dict[str, Tensor]:
        """The decoder's terms: reconstruction, perceptual, adversarial (ccsr-spec 6.2 and 6.3)."""
        loss, gt = self.loss, pair.gt
        up = enlarge(pair.lq, (gt.shape[-2], gt.shape[-1]))
        T, bounds = self.grids[int(draws.rng.integers(len(self.grids)))]
        vae = self.networks.vae
        with torch.set_grad_enabled(self.joint), self.precision():
            latent = super_resolve(self.networks.denoiser, self.networks.schedule, vae, up, T, draws.normal, *bounds)
        with self.precision():
            sr = codec.decode(vae, latent)
        if loss.clamp:
            sr = sr.clamp(0, 1)
        target, seen = self._seen(sr, pair, draws)
        terms = {"reconstruction": loss.reconstruction_weight * self._reconstruction(sr, target)}
        if loss.ssim_weight:
            terms["ssim"] = loss.ssim_weight * ssim_loss(sr, gt)
        if loss.lattice_weight:
            terms["lattice"] = loss.lattice_weight * lattice_loss(sr, gt, codec.latent_factor(vae))
        if loss.weave_weight:
            terms["weave"] = loss.weave_weight * weave_loss(sr, gt)
        if seen is not None:
            terms["perceptual"] = loss.perceptual_weight * seen
        if self.critic is not None:
            self._made = (sr.detach(), up)
            if step >= loss.begin:
                terms["adversarial"] = loss.adversarial_weight * self._adversarial(sr, up, draws, terms)
        if self.joint and draws.rng.random() < loss.latent_share:
            latents = latent_losses(self.networks, loss.latent, self.precision, self.predict, pair, draws)
            terms |= {name: loss.latent_weight * term for name, term in latents.items()}
        return terms

    def critic_losses(self, pair: Pair, draws: StepNoise, step: int) -> dict[str, Tensor]:
        """The hinge loss of the discriminator on the good picture and on what the decoder has just made."""
        assert self.critic is not None  # noqa: S101 -- for the type checker
        assert self._made is not None  # noqa: S101
        sr, up = self._made
        with self.precision():
            good, made = self.critic(pair.gt, up, draws), self.critic(sr, up, draws)
        weight = self.loss.critic_weight
        return {
            "critic_good": weight * torch.relu(1 - good.float()).mean(),
            "critic_made": weight * torch.relu(1 + made.float()).mean(),
        }

    def _reconstruction(self, sr: Tensor, gt: Tensor) -> Tensor:
        match self.loss.reconstruction:
            case "l1":
                return l1_loss(2 * sr, 2 * gt)  # in -1..1, as the papers count
            case "l2":
                return mse_loss(2 * sr, 2 * gt)
            case "picture":
                return picture_loss(sr, gt, self.loss.chroma_weight)

    def _seen(self, sr: Tensor, pair: Pair, draws: StepNoise) -> tuple[Tensor, Tensor | None]:
        """What the decoder is to match, the good pictures or a teacher's, and how far `sr` looks from them.

        A teacher is asked about the pictures of the batch that look furthest from the good ones, and heeded where its
        own looks nearer to them.
        """
        features, target = self.features, pair.gt
        if features is None:
            return target, None
        with self.precision():
            move = _mover(sr.shape, draws, self.loss.perceptual_zoom)
            made, good = features(move(sr)), features(move(pair.gt))
            apart = feature_distances(features, made, good)
            if not self.teachers or pair.gt.shape[-1] != FACTOR * pair.lq.shape[-1]:
                return target, apart.mean()
            asked = apart.topk(ceil(self.loss.teacher_share * len(apart))).indices
            teacher = self.teachers[int(draws.rng.integers(len(self.teachers)))]
            picture = taught(teacher, pair.lq[asked], pair.gt[asked])
            shown = features(move(picture))
            better = feature_distances(features, shown, [x[asked] for x in good]) < apart[asked]
            heeded = asked[better]
            if len(heeded):
                target = target.index_copy(0, heeded, picture[better])
                rows, shown = [x[heeded] for x in made], [x[better] for x in shown]
                apart = apart.index_copy(0, heeded, feature_distances(features, rows, shown))
            return target, apart.mean()

    def _adversarial(self, sr: Tensor, up: Tensor, draws: StepNoise, terms: dict[str, Tensor]) -> Tensor:
        assert self.critic is not None  # noqa: S101 -- for the type checker
        learning = [p for p in self.critic.parameters() if p.requires_grad]
        for p in learning:
            p.requires_grad_(False)  # the gradient passes through it to the decoder and stays nowhere on the way
        with self.precision():
            term = -self.critic(sr, up, draws).float().mean()
        for p in learning:
            p.requires_grad_(True)
        if not self.loss.adaptive:
            return term
        last = self.networks.vae.decoder.conv_out.weight
        nll = torch.stack(list(terms.values())).sum()
        ours, theirs = (self._gradient_norm(x, last) for x in (nll, term))
        # Source: ccsr-spec 6.3; the factor makes both gradients of one length at the last layer.
        return (ours / (theirs + 1e-4)).clamp(0, 1e4).detach() * term

    def _gradient_norm(self, loss: Tensor, weight: Tensor) -> Tensor:
        """Length of the loss's gradient. In fp16 small gradients vanish on the way unless the loss is scaled up."""
        norm = loss.new_zeros(())
        for scale in _SCALES if self.precision.dtype is torch.float16 else (1.0,):
            norm = torch.autograd.grad(scale * loss, weight, retain_graph=True)[0].norm() / scale
            if torch.isfinite(norm):
                break
        return norm

    def evaluate(self) -> ValidationResult | None:
        """Scores of the present weights."""
        return judge(self.networks, self.predict, self.validation, self.device)

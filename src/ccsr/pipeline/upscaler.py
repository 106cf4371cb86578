"""What does the work: preprocess, encode, sample, decode, postprocess.

`CCSRPipeline` is a front of it. Programs take it alone, and need not wait for diffusers, which that imports.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ccsr.images import buffers, stripes
from ccsr.images.buffers import hearing
from ccsr.method import Networks, Restorer, Settings
from ccsr.method.compat import COMPAT
from ccsr.method.noise import NoiseSource
from ccsr.method.processing import Preprocessed, as_tensor, postprocess, preprocess
from ccsr.method.sampler import NoiseSchedule, SamplingStep
from ccsr.metrics.consistency import consistency_of
from ccsr.networks import latent_factor
from ccsr.networks.fast import prepare
from ccsr.options import UpscaleOptions
from ccsr.pipeline.bounds import bound, stretching
from ccsr.pipeline.conditions import text_conditions
from ccsr.pipeline.engine import EngineCache
from ccsr.pipeline.lock import ReadWriteLock
from ccsr.pipeline.outputs import Upscaled
from ccsr.pipeline.placement import placed
from ccsr.pipeline.process import settle
from ccsr.pipeline.progress import Clock, Progress, Teller, progress_of
from ccsr.pipeline.retry import with_retry
from ccsr.pipeline.tiles import tile_settings
from ccsr.plan import Plan, least_side
from ccsr.weights import Model, ModelDescription, load_model

Batch = Sequence[tuple[np.ndarray, int]]
"""(picture, number of the sample) of each result; pictures float (H, W, 3) in 0..1, of one size."""
OnStep = Callable[[SamplingStep], None]


@dataclass(frozen=True)
class Upscaler:
    """A model at work. Several threads may use one at once, but not two with the same networks."""

    networks: Networks
    embeddings: Mapping[str, Tensor]
    """Any of empty, positive and negative, (1, tokens, width) each."""
    description: ModelDescription
    lock: ReadWriteLock = field(default_factory=ReadWriteLock)
    engines: EngineCache = field(default_factory=EngineCache)

    @classmethod
    def load(
        cls, name: str | Path, *, dtype: torch.dtype = torch.float32, base_model: str | Path | None = None
    ) -> Self:
        """The model of that name, folder or hub id, in that number format; it goes to a plan's device with the plan.

        Raises:
            WeightsError: the model cannot be found, read or trusted.
        """
        model = load(name, dtype, base_model)
        prepare(model.unet, model.controlnet, model.vae)
        schedule = NoiseSchedule.from_config(model.scheduler_config)
        return cls(Networks(model.unet, model.controlnet, model.vae, schedule), model.embeddings, model.description)

    def upscale(
        self,
        picture: np.ndarray,
        options: UpscaleOptions,
        plan: Plan,
        sample: int = 0,
        on_progress: Progress | None = None,
        mask: np.ndarray | None = None,
    ) -> Upscaled:
        """As `upscale_batch`, for one result of one picture."""
        return self.upscale_batch([(picture, sample)], options, plan, on_progress, mask=mask)[0]

    def upscale_batch(
        self,
        batch: Batch,
        options: UpscaleOptions,
        plan: Plan,
        on_progress: Progress | None = None,
        mask: np.ndarray | None = None,
        on_step: OnStep | None = None,
    ) -> list[Upscaled]:
        """One result for each (picture, sample), at the plan's size.

        `on_progress` is called as (done, total, part) while the networks run and between the bands of a large picture,
        and `on_step` after each evaluation; what they raise stops the work. A result that fails is tried once more: see
        `with_retry`. `mask`, (h, w) in 0..1 and of any size, is laid over each picture: where it is 0 the enlarged
        input stays.

        Raises:
            ModelOutputError: a result is not finite in fp32 either.
            MemoryError or RuntimeError: memory runs out with the smallest tiles too.
        """
        settle()
        parts = (self.networks.unet, self.networks.controlnet, self.networks.vae)

        def attempt(batch: Batch, plan: Plan) -> list[Upscaled]:
            teller = Teller(on_progress)
            stripes.begin(f"{plan.dtype}-{plan.tile}-{plan.vae_tile}")
            with placed(parts, plan, self.lock), hearing(teller.alive):
                return self._run(batch, options, plan, mask, teller, on_step)

        return with_retry(attempt, batch, plan)

    @torch.inference_mode()
    def _run(
        self,
        batch: Batch,
        options: UpscaleOptions,
        plan: Plan,
        mask: np.ndarray | None,
        teller: Teller,
        on_step: OnStep | None,
    ) -> list[Upscaled]:
        """Preprocess, encode, sample, decode, postprocess."""
        clock, restorer = Clock(), self._restorer(options, plan)
        inputs = self._preprocess(batch, options, plan, restorer)
        if mask is not None:
            for each, (picture, _) in zip(inputs, batch, strict=True):
                each.warnings += stretching(mask, picture)
        lq_up = torch.cat([as_tensor(each.lq_up) for each in inputs]) if len(inputs) > 1 else as_tensor(inputs[0].lq_up)
        draw = self._noise(batch, options, lq_up, restorer)
        estimates: list[Tensor] = []

        def after_step(step: SamplingStep) -> None:
            if options.intermediates:
                estimates.append(step.x0)
            if on_step:
                on_step(step)

        with progress_of(restorer, lq_up, self.description.flops_per_pixel, teller):
            z_lq = restorer.encode(lq_up, draw).z_lq
            clock.lap("encode")
            latent = restorer.sample(z_lq, len(lq_up), draw, after_step)
            del z_lq
            clock.lap("denoise")
            decoded = restorer.decode(latent)
            clock.lap("decode")
        # Nothing else needs what was enlarged for the networks, and on disk there need not be room for both.
        spend = [
            not estimates and each.lq_up.nbytes > buffers.RESIDENT and not np.may_share_memory(each.lq_up, picture)
            for each, (picture, _) in zip(inputs, batch, strict=True)
        ]
        fixed = self._postprocess(decoded, inputs, options, plan, spend)
        results = [bound(sr, picture, options, mask) for sr, (picture, _) in zip(fixed, batch, strict=True)]
        true = [consistency_of(sr, picture) for sr, (picture, _) in zip(results, batch, strict=True)]
        clock.lap("color")
        intermediates = [self._postprocess(restorer.decode(x0), inputs, options, plan) for x0 in estimates]
        seconds = {name: value / len(batch) for name, value in clock.seconds.items()}
        return [
            Upscaled(
                sr,
                options.trajectory.timesteps,
                dict(seconds),
                warnings=inputs[i].warnings,
                intermediates=[estimate[i] for estimate in intermediates],
                plan=plan,
                consistency=true[i],
            )
            for i, sr in enumerate(results)
        ]

    def _restorer(self, options: UpscaleOptions, plan: Plan) -> Restorer:
        """The method as the options and the plan want it run."""
        compat, multiples = COMPAT[options.compat], (latent_factor(self.networks.vae), self.size_multiple)
        unet, controlnet = self.networks.unet, self.networks.controlnet
        networks = replace(
            self.networks,
            device=torch.device(plan.device),
            engine=self.engines.get(options, plan, unet, controlnet, self.description.sha256),
        )
        settings = Settings(
            options.trajectory,
            compat,
            denoise_tiles=tile_settings("denoise", plan, compat, *multiples),
            encode_tiles=None if compat.whole_encoder else tile_settings("encode", plan, compat, *multiples),
            decode_tiles=tile_settings("decode", plan, compat, *multiples),
            start_from_lq=options.start_point == "lq" and not compat.start_from_noise,
        )
        return Restorer(networks, text_conditions(options, self.embeddings, self.description), settings)

    def _preprocess(self, batch: Batch, options: UpscaleOptions, plan: Plan, restorer: Restorer) -> list[Preprocessed]:
        """The pictures enlarged to the size that is computed, with what there is to warn of."""
        least, compat = least_side(options, self.description), restorer.settings.compat
        size, work = (plan.output_width, plan.output_height), (plan.work_width, plan.work_height)
        inputs = [preprocess(picture, *size, work, least, compat, self.size_multiple) for picture, _ in batch]
        height, width = (side // latent_factor(self.networks.vae) for side in inputs[0].lq_up.shape[:2])
        if restorer.networks.engine and not restorer.engine_for(height, width):
            for each in inputs:
                each.warnings.append("OpenVINO does not take tiles, so torch computed this one (--tile none is for it)")
        return inputs

    def _noise(self, batch: Batch, options: UpscaleOptions, lq_up: Tensor, restorer: Restorer) -> NoiseSource:
        """Noise for the latents of `lq_up`, (B, 3, H, W): a function of the seed, the sample and the position."""
        height, width = (side // latent_factor(self.networks.vae) for side in lq_up.shape[-2:])
        return NoiseSource(
            options.seed,
            [sample for _, sample in batch],
            (self.networks.vae.config.latent_channels, height, width),
            restorer.settings.compat.posterior_draws if restorer.conditions.guided else 1,
        )

    def _postprocess(
        self,
        decoded: Tensor,
        inputs: Sequence[Preprocessed],
        options: UpscaleOptions,
        plan: Plan,
        spend: Sequence[bool] | None = None,
    ) -> list[np.ndarray]:
        """The decoded pictures, (B, 3, H, W), in the inputs' colours and at the size of the result; `spend` says whose
        enlarged input may be written over."""
        color_fix, compat = options.color_fix or self.description.color_fix, COMPAT[options.compat]
        return [
            postprocess(
                decoded[i : i + 1],
                each,
                color_fix,
                plan.output_width,
                plan.output_height,
                compat,
                bool(spend and spend[i]),
            )
            for i, each in enumerate(inputs)
        ]

    @property
    def size_multiple(self) -> int:
        """Pixels that a padded side is a multiple of: the VAE's factor times the UNet's."""
        return latent_factor(self.networks.vae) * 2 ** (len(self.networks.unet.config.block_out_channels) - 1)


def load(name: str | Path, dtype: torch.dtype, base_model: str | Path | None = None) -> Model:
    """A model by name, folder or hub id, its tensors in the order that upscaling wants.

    Raises:
        WeightsError: the model cannot be found, read or trusted.
    """
    settle()
    return load_model(name, dtype=dtype, base_model=base_model, memory_format=torch.channels_last)

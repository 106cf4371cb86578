"""What can be set about training, and the recipes: what the paper says, and what the published programs do.

A config file names a recipe and what differs from it; `--dry-run` prints everything that follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ccsr.data.pairs import DataConfig
from ccsr.data.sources import SourceConfig
from ccsr.errors import OptionError
from ccsr.options import ColorFix, DtypeName
from ccsr.training.checks import check_validation, check_values
from ccsr.training.yaml_config import apply

SHIPPED_NETWORK = "squeezenet"
Part = Literal["vae", "unet", "controlnet", "prompt"]


@dataclass(frozen=True)
class LoopConfig:
    """How long, how fast and how often: shared by every stage."""

    steps: int = 20_000
    hours: float | None = None
    """Wall time of one call, after which it stops with a checkpoint; the same command goes on for as long again."""
    accumulate: int = 1
    """Passes whose gradients make one step; a step sees batch x accumulate x processes samples."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
    """Steps over which the rate rises."""
    hold: float = 0.0
    """Share of the run at the full rate before the cosine."""
    final_rate: float = 0.01
    """Last rate of the cosine as a share of the first."""
    clip_norm: float = 1.0
    ema: float = 0.0
    """Decay of the running average of the weights, which then is what is kept; 0: none."""
    precision: Literal["auto", DtypeName] = "fp32"
    """Of the networks' arithmetic; losses, noise and weights stay in float32. auto: bf16 on GPUs that have it and on
    CPUs with AMX, else fp32."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    seed: int = 0
    log_every: int = 50
    evaluate_every: int = 1000
    save_every: int = 500
    keep: int = 2
    """Checkpoints that stay."""
    tracker: str | None = None
    """Any tracker of accelerate, such as tensorboard or wandb."""


@dataclass(frozen=True)
class ModelConfig:
    """What training starts from, and what it changes."""

    base: str | None = None
    """A model's name, folder or hub id, or the folder of a base model alone (unet, vae, scheduler, text encoder)."""
    base_model: str | None = None
    """Folder of the base model, where `base` is in the published layout."""
    architecture: Literal["nano", "narrow", "sd21"] = "nano"
    """Sizes of the networks where there is no base. narrow: nano's, with fewer and narrower layers."""
    trunk: str | None = None
    """nano's VAE, where it starts anew: ncnn files, without their ending, of a compact super-resolution network that
    its decoder begins with. None: convolutions from random weights."""
    fresh: tuple[Part, ...] = ()
    """Parts that start anew. A ControlNet starts from the UNet's weights, the others from random ones."""
    trained: tuple[Part, ...] = ("controlnet",)
    """Which parts learn: of the denoiser in stage 1 and the pre-training, along with the decoder in stage 2. There
    `vae` means the encoder too, for models that are nobody else's base."""
    open_gate: bool = False
    """nano's VAE: open its decoder's gate for good. It closes where a latent holds fine detail, for pictures that need
    none drawn; where the denoiser has drawn detail itself, a decoder that is tuned would have no say."""
    prompt: Literal["empty", "positive"] = "empty"
    """Embedding that is trained with. A learnt one (`prompt` in `trained`) is always stored as `positive`."""
    name: str | None = None
    """Of the finished model; else the run folder's."""
    licence: str | None = None
    """Of the finished weights; else the base's."""
    color_fix: ColorFix | None = None
    """What the finished model asks for; else what the base does."""
    dtype: DtypeName = "bf16"
    """Number format of the finished weights."""


@dataclass(frozen=True)
class ValidationConfig:
    """Pictures that the network is judged on every `loop.evaluate_every` steps."""

    sources: tuple[SourceConfig, ...] = ()
    hold_out: int = 0
    """Without sources: so many pictures, spread over the training set, are kept from it and judged on."""
    count: int = 8
    crop: int = 256
    levels: tuple[str, ...] = ()
    """How bad, and how much larger: names of `ccsr.data.levels`, each judged by itself. Empty: what is trained on."""
    sheet: int = 4
    """How many of them are drawn into the run folder's pictures: enlarged input, results, original."""


@dataclass(frozen=True)
class DenoiserLoss:
    """What the denoiser learns (ccsr-spec 5)."""

    form: Literal["published", "paper", "plain"] = "published"
    """published: all three losses on every batch. paper: one index per sample. plain: Eq. 2 alone, no truncation."""
    t_range: tuple[int, int] = (0, 667)
    """Indices of the diffusion term: from the first to before the second."""
    share_at_T: float = 0.5
    """paper: share of the samples at index 999. The paper does not say how often T is drawn."""
    renoise: tuple[int, ...] = (667,)
    """Where the estimate of T is noised to; one of these is drawn for each batch."""
    start: Literal["gt", "lq"] = "gt"
    """Latent that index 999 is reached from."""
    snr_cap: float | None = None
    """The diffusion term is the squared error of the clean latent times the signal-to-noise ratio, at most this.
    Without a bound that is Eq. 2, the error of the noise, whatever the network returns. None: of what it returns."""


@dataclass(frozen=True)
class DecoderLoss:
    """What the decoder learns (ccsr-spec 6)."""

    grids: tuple[int, ...] = (1,)
    """The paper's T, one drawn for each batch: 1 decodes the first estimate; 6, 12, 18 run two to four steps."""
    other_grids: tuple[tuple[int, str, str], ...] | None = None
    """T, t_max and t_min of further ones, such as [6, 2/3, 1/3], drawn along with `grids`, which have 2/3 and 1/2."""
    reconstruction: Literal["l1", "l2", "picture"] = "l2"
    """picture: L1 in YCbCr with differences and block means, for small models."""
    reconstruction_weight: float = 1.0
    chroma_weight: float = 2.0
    """Of Cb and Cr in `picture`."""
    clamp: bool = False
    """Clamp the decoder's output before the losses, which then do not see what lies outside."""
    perceptual: str | None = None
    """Weights of a feature network (SqueezeNet or VGG16 with torchvision's names), or the word `squeezenet` for the one
    that ships with the package; None: no such term."""
    perceptual_heads: str | None = None
    """LPIPS's own weights of the maps, to make VGG16's distance LPIPS."""
    perceptual_weight: float = 1.0
    perceptual_zoom: tuple[float, float] | None = None
    """Factors between which height and width, each by its own, are resized before the feature network looks, drawn for
    each batch. Looking at one size alone, it rewards a weave of the period that its first layer likes."""
    ssim_weight: float = 0.0
    """Of 1 - SSIM of luma."""
    lattice_weight: float = 0.0
    """Of the pattern that repeats with the codec's blocks."""
    weave_weight: float = 0.0
    """Of what stands out at one frequency in all textures, which a feature network can reward."""
    teachers: tuple[str, ...] = ()
    """Trained super-resolution networks of a factor of 4 (ncnn's files, named without the ending), one drawn for each
    batch. Where a teacher's picture is nearer to the good one in feature distance than the decoder's own, it takes the
    good one's place in `reconstruction` and `perceptual`."""
    teacher_share: float = 1.0
    """Share of each batch that the teacher is asked about: the pictures that look furthest from the good ones."""
    discriminator: Literal["none", "patchgan", "projected"] = "none"
    filters: int = 64
    """patchgan: width of its first layer."""
    conditional: bool = False
    """patchgan: it sees the enlarged input beside the picture. projected always does."""
    adversarial_weight: float = 0.05
    adaptive: bool = False
    """Scale the adversarial term by the ratio of the gradients at the decoder's last layer."""
    critic_weight: float = 0.5
    begin: int = 0
    """Step from which on the decoder hears of the discriminator, which learns from the first."""
    features: str | None = None
    """projected: weights of the DINO ViT that judges."""
    semantics: str | None = None
    """projected: weights of the DINOv2 ViT whose class token of the input conditions the judgement."""
    post_quant: bool = False
    """Train the convolution before the decoder, too, as v1 does."""
    latent_share: float = 0.0
    """Where the denoiser learns along: share of the batches that stage 1's losses are added to, which keep the latents
    those of the VAE and the later steps useful."""
    latent_weight: float = 1.0
    latent: DenoiserLoss = field(default_factory=lambda: DenoiserLoss("paper"))


@dataclass(frozen=True)
class VAELoss:
    """What the VAE of the pre-training learns."""

    kl_weight: float = 1e-4
    chroma_weight: float = 2.0


@dataclass(frozen=True)
class Phase:
    """One of the two parts of the pre-training."""

    loop: LoopConfig
    data: DataConfig
    skip: bool = False


@dataclass(frozen=True)
class PretrainConfig:
    """`ccsr train pretrain`: the VAE, then the denoiser, from nothing or from a base."""

    run: str = "runs/pretrain"
    recipe: Literal["published"] = "published"
    model: ModelConfig = field(
        default_factory=lambda: ModelConfig(trained=("vae", "unet", "controlnet", "prompt"), prompt="positive")
    )
    sources: tuple[SourceConfig, ...] = ()
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    vae: Phase = field(default_factory=lambda: Phase(LoopConfig(), DataConfig()))
    vae_loss: VAELoss = field(default_factory=VAELoss)
    denoiser: Phase = field(default_factory=lambda: Phase(LoopConfig(steps=40_000), DataConfig()))
    denoiser_loss: DenoiserLoss = field(default_factory=lambda: DenoiserLoss("plain", t_range=(0, 1000)))


@dataclass(frozen=True)
class Stage1Config:
    """`ccsr train stage1`: structure."""

    run: str = "runs/stage1"
    recipe: Literal["published", "paper"] = "published"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    loss: DenoiserLoss = field(default_factory=DenoiserLoss)
    loop: LoopConfig = field(default_factory=LoopConfig)


@dataclass(frozen=True)
class Stage2Config:
    """`ccsr train stage2`: the decoder (DeFT), and the parts of the denoiser that `model.trained` names."""

    run: str = "runs/stage2"
    recipe: Literal["published", "paper"] = "published"
    model: ModelConfig = field(default_factory=lambda: ModelConfig(trained=()))
    data: DataConfig = field(default_factory=DataConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    loss: DecoderLoss = field(default_factory=DecoderLoss)
    loop: LoopConfig = field(default_factory=LoopConfig)


Config = PretrainConfig | Stage1Config | Stage2Config

_PASSES = {"batch": 4, "accumulate": 6}
"""x 4 processes = 96, the published batch of stage 1 and of the pre-training (ccsr-spec 5.2)."""


def recipe(stage: str, name: str) -> Config:
    """A stage's config as the paper or the published program has it (ccsr-spec 5.1 to 6.4)."""
    data = DataConfig(batch=_PASSES["batch"])
    stage1 = LoopConfig(steps=20_000, accumulate=_PASSES["accumulate"])
    stage2 = replace(stage1, steps=2_000, accumulate=8)
    adam: dict[str, Any] = {"optimizer": "adam", "weight_decay": 0.0}
    match stage, name:
        case "pretrain", "published":
            return PretrainConfig(vae=Phase(replace(stage1), data), denoiser=Phase(replace(stage1, steps=40_000), data))
        case "stage1", "published":
            return Stage1Config(data=data, loop=stage1)
        case "stage1", "paper":
            return Stage1Config(
                recipe="paper",
                data=data,
                # t_min = 1/2 and t_max = 2/3 of 1000 indices.
                loss=DenoiserLoss("paper", t_range=(500, 667)),
                loop=replace(stage1, steps=25_000, **adam),
            )
        case "stage2", "published":
            loss = DecoderLoss(clamp=True, discriminator="projected", begin=101)
            return Stage2Config(data=replace(data, batch=2), loss=loss, loop=replace(stage2, learning_rate=5e-6))
        case "stage2", "paper":
            loss = DecoderLoss(reconstruction="l1", discriminator="patchgan", adaptive=True, adversarial_weight=0.5)
            return Stage2Config(
                recipe="paper", data=replace(data, batch=2), loss=loss, loop=replace(stage2, learning_rate=1e-5, **adam)
            )
    raise OptionError(
        f"recipe is {name!r}",
        hint=f"ccsr train {stage} knows {'published, paper' if stage != 'pretrain' else 'published'}",
    )


def resolve(stage: str, settings: Mapping[str, Any]) -> Config:
    """A stage's config from what a file and the command line say, over what its recipe says.

    Raises:
        OptionError: a setting that there is not, or values that make no sense together.
    """
    config = apply(recipe(stage, str(settings.get("recipe", "published"))), settings)
    check_values(config)
    judged = [config.vae.data, config.denoiser.data] if isinstance(config, PretrainConfig) else [config.data]
    for data in judged:
        check_validation(config.validation.levels, config.validation.crop, data)
    if isinstance(config, PretrainConfig):
        if config.vae.data.sources or config.denoiser.data.sources:
            raise OptionError("a phase has data.sources of its own", hint="both learn on the sources at the top")
        if config.vae.skip and config.denoiser.skip:
            raise OptionError("vae.skip and denoiser.skip leave nothing to do", hint="skip one of them at most")
    if isinstance(config, Stage2Config):
        loss = config.loss
        if loss.latent_share and not {"unet", "controlnet"} & set(config.model.trained):
            raise OptionError(
                f"loss.latent_share is {loss.latent_share}, and no part of the denoiser learns",
                hint="model.trained=[unet,controlnet,prompt]",
            )
        if loss.discriminator == "projected" and not (loss.features and loss.semantics):
            raise OptionError(
                "loss.discriminator is projected without its two feature networks",
                hint="loss.features=DINO.pth loss.semantics=DINOV2.pth, or loss.discriminator=patchgan",
            )
        least = {
            "patchgan": 24 if loss.discriminator == "patchgan" else 1,
            SHIPPED_NETWORK: 24 if loss.perceptual == SHIPPED_NETWORK else 1,
            "loss.ssim_weight": 11 if loss.ssim_weight else 1,
        }
        for what, side in least.items():
            if config.data.crop < side:
                raise OptionError(f"data.crop is {config.data.crop}", hint=f"{what} needs {side} at least")
    return config

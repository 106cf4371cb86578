"""The nodes: types translated, nothing more. A picture of ComfyUI is float (B, H, W, 3 or 4) in 0..1."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ccsr.comfyui import host
from ccsr.comfyui.inputs import inputs, options_from
from ccsr.options import UpscaleOptions, options_of

if TYPE_CHECKING:
    import torch

    from ccsr.pipeline import Upscaler

CATEGORY = "image/upscaling"


@dataclass(frozen=True)
class Loaded:
    """What passes between the nodes as CCSR_MODEL: a model, and where and how it works."""

    upscaler: "Upscaler"
    device: str
    dtype: str
    bring: Callable[[int], None]
    """Has the weights on the device, and so many bytes free beside them; see `host.managed`."""


class LoadModel:
    """A model by its name, or by a folder or hub id; one load serves all nodes behind it."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("CCSR_MODEL",)
    RETURN_NAMES = ("model",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 -- ComfyUI's name
        """Widgets of the node."""
        from ccsr.weights.registry import known_models

        dtype = next(o for o in options_of(UpscaleOptions, "python") if o.name == "dtype")
        return {
            "required": {
                "model": (list(known_models()), {"default": "nano", "tooltip": "a model that is in hand"}),
                "dtype": (list(dtype.choices or ()), {"default": "auto", "tooltip": dtype.help}),
            },
            "optional": {
                "folder": ("STRING", {"default": "", "tooltip": "a model folder or hub id instead of the name"}),
                "base_model": ("STRING", {"default": "", "tooltip": "SD 2.1-base, for the published layout"}),
            },
        }

    def load(self, model: str, dtype: str, folder: str = "", base_model: str = "") -> tuple[Loaded]:
        """The loaded model, with the options that belong to it."""
        from ccsr.pipeline import DTYPES, Upscaler
        from ccsr.plan import resolve_machine

        device, dtype, _ = resolve_machine(UpscaleOptions(device=host.device(), dtype=dtype))
        name, base = folder.strip() or model, base_model.strip() or None
        upscaler = Upscaler.load(name, dtype=DTYPES[dtype], base_model=base)
        networks = upscaler.networks
        bring = host.managed([networks.unet, networks.controlnet, networks.vae])
        return (Loaded(upscaler, device, dtype, bring),)


class Upscale:
    """Pictures or frames in, their enlargements out; every frame has the same noise, so that they do not flicker."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "mask")
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 -- ComfyUI's name
        """Widgets of the node: every option."""
        return {
            "required": {"model": ("CCSR_MODEL",), "image": ("IMAGE",), **inputs()},
            "optional": {
                "mask": ("MASK", {"tooltip": "enlarged with the picture, as LoadImage gives it"}),
                "restore_mask": ("MASK", {"tooltip": "1 where the picture is restored, 0 where it is only enlarged"}),
            },
        }

    def upscale(
        self,
        model: Loaded,
        image: "torch.Tensor",
        mask: "torch.Tensor | None" = None,
        restore_mask: "torch.Tensor | None" = None,
        **values: Any,
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Results (B, H, W, C) at exactly the asked size, with as many channels as came, and mask (B, H, W).

        A mask is 1 where a picture is transparent, as everywhere in ComfyUI; alpha, the fourth channel, is 1 elsewhere.
        `restore_mask` (B, H, W), of any size, is 0 where the enlarged input stays.
        """
        import torch

        results, masks = [], []
        listen = host.progress(len(image))
        for number, frame in enumerate(image):
            bound = None if restore_mask is None else restore_mask[min(number, len(restore_mask) - 1)]
            sr = _upscaled(model, frame, options_from(values), listen(number), mask=bound)
            has_alpha = frame.shape[-1] == 4
            if has_alpha:
                sr = torch.cat([sr, _enlarged(frame[..., 3], sr)[..., None]], dim=-1)
            if mask is not None:
                masks.append(_enlarged(mask[min(number, len(mask) - 1)], sr))
            else:
                masks.append(1 - sr[..., 3] if has_alpha else sr.new_zeros(sr.shape[:2]))
            results.append(sr)
        return torch.stack(results), torch.stack(masks)


class StabilityMap:
    """Several results of one picture, and where they differ: what differs was invented."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE", "IMAGE", "MASK")
    RETURN_NAMES = ("samples", "map", "deviation")
    FUNCTION = "measure"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 -- ComfyUI's name
        """Widgets of the node: the number of results, and every option."""
        samples = ("INT", {"default": 4, "min": 2, "max": 100, "tooltip": "results, each with noise of its own"})
        return {"required": {"model": ("CCSR_MODEL",), "image": ("IMAGE",), "samples": samples, **inputs()}}

    def measure(
        self, model: Loaded, image: "torch.Tensor", samples: int, **values: Any
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Of the first picture: results (N, H, W, 3), the map in colours (1, H, W, 3), and std (1, H, W), 0 to 0.5."""
        import torch

        from ccsr.stability import StabilityMeter
        from ccsr.stability.maps import coloured

        listen, meter = host.progress(samples), StabilityMeter()
        results = []
        for number in range(samples):
            sr = _upscaled(model, image[0], options_from(values), listen(number), sample=number)
            meter.update("picture", number, sr.numpy())
            results.append(sr)
        deviation = meter.deviation.mean(2)
        colours = torch.from_numpy(coloured(deviation)).float() / 255
        return torch.stack(results), colours[None], torch.from_numpy(deviation).float()[None]


def _upscaled(
    model: Loaded,
    frame: "torch.Tensor",
    options: dict[str, Any],
    on_progress: Any,
    sample: int = 0,
    mask: "torch.Tensor | None" = None,
) -> "torch.Tensor":
    """One result (H, W, 3) on the CPU in 0..1 of one frame (h, w, 3 or 4); a mask is (h, w), of any size."""
    import torch

    from ccsr.plan import make_plan

    upscaler = model.upscaler
    chosen = UpscaleOptions.from_mapping({**options, "device": model.device, "dtype": model.dtype})
    # What other nodes made may lie a little outside.
    picture = frame[..., :3].detach().float().cpu().clamp(0, 1).numpy()
    plan = make_plan(picture.shape[1], picture.shape[0], chosen, upscaler.description)
    laid = None if mask is None else mask.detach().float().cpu().clamp(0, 1).numpy()
    model.bring(plan.memory_bytes)
    upscaled = upscaler.upscale(picture, chosen, plan, sample, on_progress, laid)
    return torch.from_numpy(upscaled.sr.clip(0, 1))


def _enlarged(plane: "torch.Tensor", sr: "torch.Tensor") -> "torch.Tensor":
    """A plane (h, w) in 0..1 at the size of a result (H, W, C)."""
    import torch

    from ccsr.images.resample import enlarge

    return torch.from_numpy(enlarge(plane.detach().float().cpu().numpy(), sr.shape[1], sr.shape[0]))

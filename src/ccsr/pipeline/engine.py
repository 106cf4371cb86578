"""What computes the denoiser: torch, or another engine's form of it that is compiled once."""

import threading
from typing import TYPE_CHECKING

from ccsr.errors import OptionError
from ccsr.method.restoration import Engine
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan

if TYPE_CHECKING:
    from ccsr.networks.kinds import ControlNet, UNet


class EngineCache:
    """Pictures that are computed side by side share what the first of them compiled."""

    def __init__(self) -> None:
        self.kept: Engine | None = None
        self._key: tuple[object, ...] = ()
        self._lock = threading.Lock()

    def get(
        self,
        options: UpscaleOptions,
        plan: Plan,
        unet: "UNet",
        controlnet: "ControlNet",
        sha256: str,
    ) -> Engine | None:
        """The engine that the options ask for, for these networks with the weights of that hash; None is torch.

        Raises:
            OptionError: it does not compute on the plan's device.
            MissingExtraError: it is not installed.
        """
        if options.engine == "torch":
            return None
        if plan.device != "cpu":
            raise OptionError(f"--engine openvino computes on the CPU, not on {plan.device}", hint="add --device cpu")
        from ccsr.engines import OpenVINODenoiser

        with self._lock:
            key = (unet.dtype, plan.threads)
            if self.kept is None or self._key != key:
                self.kept, self._key = OpenVINODenoiser(unet, controlnet, sha256, plan.threads), key
            return self.kept

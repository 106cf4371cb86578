"""ControlNet and UNet as one graph of OpenVINO, for CPUs: an optional extra.

The graph is made once per model and kept in the cache folder; weights are stored in it as float16, which holds more of
a number than bfloat16 does. The networks' torch modules stay the reference: a picture whose denoiser runs in tiles
needs their group norms one by one (`ccsr.networks.tiled`), so it is left to them.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ccsr import atomic
from ccsr.errors import MissingExtraError
from ccsr.log import get_logger
from ccsr.networks import denoise
from ccsr.weights.registry import writable_cache_folder

if TYPE_CHECKING:
    from ccsr.networks.kinds import ControlNet, UNet

log = get_logger(__name__)
_PRECISION = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class OpenVINODenoiser:
    """Both networks compiled for this CPU; called as `networks.denoise` without the networks."""

    def __init__(
        self,
        unet: "UNet",
        controlnet: "ControlNet",
        sha256: str,
        threads: int,
    ) -> None:
        """`sha256` names the weights, and so the kept graph; the networks' dtype is the arithmetic's.

        Raises:
            MissingExtraError: OpenVINO is not installed.
        """
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError(
                "--engine openvino needs OpenVINO", hint='pip install "ccsr[openvino]", or --engine torch'
            ) from error
        self.dtype, self.threads = unet.dtype, threads
        path = graph_file(sha256, openvino.__version__)
        if not path.exists():
            _convert(openvino, unet, controlnet, path)
        settings = {
            "INFERENCE_PRECISION_HINT": _PRECISION[unet.dtype],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = openvino.Core().compile_model(path, "CPU", settings)

    def __call__(self, z_t: Tensor, t: int, z_lq: Tensor, embedding: Tensor) -> Tensor:
        """As `networks.denoise`: float32 (B, C, h, w)."""
        prompt = embedding.float().repeat(len(z_t) // len(embedding), 1, 1)
        inputs = [x.float().contiguous().numpy() for x in (z_t, torch.tensor(float(t)), z_lq, prompt)]
        # A request of its own for each call: one may not be shared between threads, and it owns its result's memory.
        request = self._compiled.create_infer_request()
        request.infer(inputs)
        return torch.from_numpy(request.get_output_tensor().data.copy())


def graph_file(sha256: str, version: str) -> Path:
    """Where the graph of these weights is kept: made by one version of OpenVINO, and read by the same."""
    return writable_cache_folder() / "openvino" / f"{sha256[:32]}-{version.split('-')[0]}" / "denoiser.xml"


class _Both(nn.Module):
    def __init__(self, unet: "UNet", controlnet: "ControlNet") -> None:
        super().__init__()
        self.unet, self.controlnet = unet, controlnet

    def forward(self, z_t: Tensor, t: Tensor, z_lq: Tensor, prompt: Tensor) -> Tensor:
        return denoise(self.unet, self.controlnet, z_t, t, z_lq, prompt)


def _convert(
    openvino: Any,
    unet: "UNet",
    controlnet: "ControlNet",
    path: Path,
) -> None:
    """Trace the networks on a small latent and write their graph, for any number of rows and any size."""
    log.warning("OpenVINO converts the model once; the result is kept in %s", path.parent)
    side = 2 ** len(unet.config.block_out_channels)
    latent = torch.zeros(2, unet.config.in_channels, side, side)
    example = (latent, torch.tensor(999.0), latent, torch.zeros(2, 2, unet.config.cross_attention_dim))
    # The tracer wants float32; copies of the networks exist while it runs.
    both = _Both(_plain_copy(unet), _plain_copy(controlnet)).eval()
    any_size = [[-1, unet.config.in_channels, -1, -1], [], [-1, unet.config.in_channels, -1, -1], [-1, -1, -1]]
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns of checks of sizes, which hold for every size that the pipeline pads to.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        graph = openvino.convert_model(both, example_input=example, input=any_size)
    try:
        with atomic.folder(path.parent) as part:
            openvino.save_model(graph, part / path.name, compress_to_fp16=True)
    except OSError:
        if not path.exists():  # else another process was faster
            raise


def _plain_copy(network: Any) -> Any:
    """The network in float32, built of stock blocks."""
    with torch.device("meta"):
        copy = type(network).from_config(network.config)
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in network.state_dict().items()}
    copy.load_state_dict(tensors, assign=True)
    return copy.eval().requires_grad_(False)

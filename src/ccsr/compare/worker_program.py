"""Enlarge pictures with one method, in a process of its own.

Started by its path, also with the Python of another environment: it imports the standard library, numpy, Pillow and
the one library that its method needs, and nothing of ccsr. A job comes as JSON on stdin, a line of JSON goes out for
the loaded method and for each picture.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Enlarge = Callable[[np.ndarray, int, int], np.ndarray]
"""uint8 (h, w, 3) and the wanted width and height to float32 or uint8 (H, W, 3), on the scale 0..255."""


def resize(job: dict[str, Any]) -> tuple[Enlarge, int]:
    """Pillow's bicubic (a = -0.5) or Lanczos filter on 8 bit values."""
    filters = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
    chosen = filters[job["filter"]]
    return lambda lq, width, height: np.asarray(Image.fromarray(lq).resize((width, height), chosen)), 0


def ncnn_net(job: dict[str, Any]) -> tuple[Enlarge, int | None]:
    """A network in ncnn's two files: RGB planes in 0..1 in, the same out."""
    import ncnn

    net = ncnn.Net()
    if job["threads"]:
        net.opt.num_threads = job["threads"]
    if net.load_param(job["param"]) or net.load_model(job["weights"]):
        raise ValueError(f"{job['param']}: ncnn cannot read this network")
    inputs, outputs = list(net.input_names()), list(net.output_names())

    def enlarge(lq: np.ndarray, width: int, height: int) -> np.ndarray:
        planes = np.ascontiguousarray(lq.transpose(2, 0, 1).astype(np.float32) / 255)
        extractor = net.create_extractor()
        # A Mat made from an array shares its memory.
        extractor.input(inputs[0], ncnn.Mat(planes).clone())
        code, sr = extractor.extract(outputs[0])
        if code:
            raise ValueError(f"ncnn ended with code {code}")
        return np.asarray(sr).transpose(1, 2, 0) * np.float32(255)

    return enlarge, ncnn_parameters(Path(job["param"]).read_text(encoding="utf-8"))


def ncnn_parameters(text: str) -> int | None:
    """Number of weights that a `.param` file states; None where a layer is of a kind that is not known here."""
    total = 0
    for line in text.splitlines()[2:]:
        words = line.split()
        if len(words) < 4:
            continue
        kind, values = words[0], dict(word.split("=", 1) for word in words[4 + int(words[2]) + int(words[3]) :])
        if kind in ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise"):
            total += int(values["6"]) + (int(values["0"]) if values.get("5") == "1" else 0)
        elif kind == "InnerProduct":
            total += int(values["2"]) + (int(values["0"]) if values.get("1") == "1" else 0)
        elif kind == "PReLU":
            total += int(values["0"])
        elif kind in ("BatchNorm", "Scale", "LayerNorm", "GroupNorm", "InstanceNorm", "MultiHeadAttention", "Gemm"):
            return None
    return total


def spandrel_net(job: dict[str, Any]) -> tuple[Enlarge, int]:
    """Any single-image model that spandrel recognises, from a file of weights."""
    import torch
    from spandrel import ImageModelDescriptor, ModelLoader

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    device = job["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    model = ModelLoader(device=device).load_from_file(job["weights"])
    if not isinstance(model, ImageModelDescriptor) or model.input_channels != 3:
        raise ValueError(f"{job['weights']}: is no network from one RGB picture to another")
    model.eval()

    def enlarge(lq: np.ndarray, width: int, height: int) -> np.ndarray:
        planes = torch.from_numpy(lq.transpose(2, 0, 1).astype(np.float32) / 255)[None].to(device)
        with torch.inference_mode():
            sr = model(planes)[0].float().cpu()
        return np.asarray(sr.permute(1, 2, 0)) * np.float32(255)

    return enlarge, sum(parameter.numel() for parameter in model.model.parameters())


def reduced(sr: np.ndarray, width: int, height: int) -> np.ndarray:
    """A result that is larger than wanted, in its shape, at the wanted size: networks know one factor alone."""
    tall, wide = sr.shape[:2]
    if tall <= height or tall * width != wide * height:
        return sr
    picture = Image.fromarray(np.clip(np.round(sr), 0, 255).astype(np.uint8))
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))


METHODS = {"resize": resize, "ncnn": ncnn_net, "spandrel": spandrel_net}


def main() -> None:
    """Do the job on stdin."""
    job = json.load(sys.stdin)
    begin = time.perf_counter()
    enlarge, parameters = METHODS[job["method"]](job)
    _tell(loaded=time.perf_counter() - begin, parameters=parameters)
    for name, (lq_path, sr_path, width, height) in job["pictures"].items():
        lq = np.asarray(Image.open(lq_path).convert("RGB"))
        begin = time.perf_counter()
        try:
            sr = enlarge(lq, width, height)
        except Exception as error:  # the others may fit
            _tell(failed=name, error=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            continue
        seconds = time.perf_counter() - begin
        sr = reduced(sr, width, height)
        if sr.shape != (height, width, 3):
            made = f"{sr.shape[1]}x{sr.shape[0]}"
            _tell(failed=name, error=f"the result is {made}, the ground truth {width}x{height}")
            continue
        part = Path(f"{sr_path}.part")
        Image.fromarray(np.clip(np.round(sr), 0, 255).astype(np.uint8)).save(part, "png", compress_level=1)
        part.replace(sr_path)
        _tell(done=name, seconds=seconds)


def _tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

"""The nodes' contract with ComfyUI, without it: types, widgets, BHWC in 0..1; the hooks of the host are stubbed."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from ccsr import CCSRPipeline
from ccsr.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from ccsr.comfyui.inputs import FROM_MODEL, inputs, node_options, options_from
from ccsr.comfyui.nodes import Loaded
from ccsr.errors import OptionError
from ccsr.images.resample import enlarge
from ccsr.options import UpscaleOptions, options_of

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples" / "comfyui-workflow.json"
TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "IMAGE", "MASK", "CCSR_MODEL"}


@pytest.fixture(scope="module")
def model(tiny: str) -> Loaded:
    (loaded,) = NODE_CLASS_MAPPINGS["CCSRLoadModel"]().load("nano", "fp32", folder=tiny)
    return loaded


def defaults(node: str) -> dict[str, Any]:
    """Widget values as ComfyUI hands them over when nobody touched anything."""
    values = {}
    for name, (kind, *settings) in NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"].items():
        if settings:
            values[name] = settings[0].get("default", kind[0] if isinstance(kind, list) else None)
    return values


def frames(count: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)
def test_the_shape_of_a_node(name: str) -> None:
    node = NODE_CLASS_MAPPINGS[name]
    assert NODE_DISPLAY_NAME_MAPPINGS[name].startswith("CCSR: ")
    assert callable(getattr(node(), node.FUNCTION))
    assert isinstance(node.CATEGORY, str)
    assert set(node.RETURN_TYPES) <= TYPES
    assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    asked = node.INPUT_TYPES()
    assert set(asked) <= {"required", "optional", "hidden"}
    for kind, *settings in (field for part in asked.values() for field in part.values()):
        if isinstance(kind, list):
            assert all(isinstance(choice, str) for choice in kind)
            if settings and "default" in settings[0]:
                assert settings[0]["default"] in kind
            continue
        assert kind in TYPES
        if kind in ("INT", "FLOAT"):
            number = int if kind == "INT" else float
            known = settings[0]
            assert all(isinstance(known[key], number) for key in ("default", "min", "max"))
            assert known["min"] <= known["default"] <= known["max"]
    # What ComfyUI sends to its page.
    json.dumps(asked)


def test_every_option_is_a_widget() -> None:
    everywhere = {o.name for o in options_of(UpscaleOptions, "python") if not o.hidden}
    elsewhere = {"model", "base_model", "device", "dtype", "batch_size", "engine", "intermediates", "samples"}
    assert set(inputs()) == everywhere - elsewhere
    assert inputs()["steps"][1] == {
        "default": 1, "tooltip": next(o.help for o in node_options() if o.name == "steps"), "min": 1, "max": 999,
    }  # fmt: skip
    assert inputs()["color_fix"][0] == [FROM_MODEL, "adain", "wavelet", "none"]


def test_what_only_experts_need_is_folded_away() -> None:
    advanced = {name for name, (_, settings) in inputs().items() if settings.get("advanced")}
    assert advanced == {o.name for o in node_options() if o.audience == "experts"}
    assert "T" in advanced
    assert "scale" not in advanced


def test_untouched_widgets_are_no_options() -> None:
    values = {name: settings["default"] for name, (_, settings) in inputs().items()}
    assert options_from(values) == {}
    touched = {**values, "T": 12, "t_max": "2/3", "t_min": "1/2", "scale": 2.5, "color_fix": "wavelet", "tile": "128"}
    given = options_from(touched)
    assert given == {"T": 12, "t_max": "2/3", "t_min": "1/2", "scale": 2.5, "color_fix": "wavelet", "tile": "128"}
    assert UpscaleOptions.from_mapping(given).trajectory.timesteps == (
        UpscaleOptions.from_mapping({"T": 12, "t_max": "2/3", "t_min": "1/2"}).trajectory.timesteps
    )
    with pytest.raises(OptionError, match="steps"):
        UpscaleOptions.from_mapping(options_from({**touched, "steps": 2}))


def test_the_exact_size_and_the_pipelines_own_values(model: Loaded, tiny: str) -> None:
    image = frames(1, 9, 13)
    values = {**defaults("CCSRUpscale"), "width": 40, "seed": 3}
    out, mask = NODE_CLASS_MAPPINGS["CCSRUpscale"]().upscale(model, image, **values)
    assert out.shape == (1, 28, 40, 3)
    assert out.dtype == torch.float32
    assert out.device.type == "cpu"
    assert 0 <= out.min() <= out.max() <= 1
    assert mask.shape == (1, 28, 40)
    assert not mask.any()
    pipe = CCSRPipeline.from_pretrained(tiny)
    pipe.set_progress_bar_config(disable=True)
    same = pipe(image[0].numpy(), width=40, seed=3, dtype="fp32", output_type="np").images[0]
    np.testing.assert_array_equal(out[0].numpy(), same.clip(0, 1))


def test_frames_have_the_same_noise(model: Loaded) -> None:
    image = frames(1, 8, 8).expand(3, -1, -1, -1)
    out, _ = NODE_CLASS_MAPPINGS["CCSRUpscale"]().upscale(model, image, **defaults("CCSRUpscale"))
    assert out.shape == (3, 32, 32, 3)
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])


def test_alpha_and_masks_pass(model: Loaded) -> None:
    image = frames(2, 8, 8, 4)
    image[..., 3] = torch.linspace(0, 1, 8)
    node, values = NODE_CLASS_MAPPINGS["CCSRUpscale"](), defaults("CCSRUpscale")
    out, mask = node.upscale(model, image, **values)
    assert out.shape == (2, 32, 32, 4)
    alpha = out[0, 5, :, 3]
    assert (alpha.diff() >= -1e-6).all()
    assert alpha[0] < 0.05 < 0.95 < alpha[-1]
    assert torch.equal(mask, 1 - out[..., 3])
    given = torch.zeros(1, 8, 8)
    given[:, :, 4:] = 1
    plain, mask = node.upscale(model, image[..., :3], mask=given, **values)
    assert torch.equal(plain, out[..., :3])
    assert mask.shape == (2, 32, 32)
    assert (mask[:, :, :12] == 0).float().mean() > 0.9
    assert (mask[:, :, 20:] == 1).float().mean() > 0.9


def test_where_the_restore_mask_is_0_the_enlarged_input_stays(model: Loaded) -> None:
    image, node, values = frames(2, 8, 8), NODE_CLASS_MAPPINGS["CCSRUpscale"](), defaults("CCSRUpscale")
    kept = torch.ones(1, 16, 16)
    kept[:, :, :8] = 0
    plain, _ = node.upscale(model, image, **values)
    out, mask = node.upscale(model, image, restore_mask=kept, **values)
    for frame, sr in zip(image, out, strict=True):
        enlarged = torch.from_numpy(enlarge(frame.numpy(), 32, 32))
        assert torch.equal(sr[:, :12], enlarged[:, :12])
    assert torch.equal(out[:, :, 20:], plain[:, :, 20:])
    assert not mask.any()


def test_values_a_little_outside_are_clamped(model: Loaded) -> None:
    image = frames(1, 8, 8) * 1.2 - 0.1
    out, _ = NODE_CLASS_MAPPINGS["CCSRUpscale"]().upscale(model, image, **defaults("CCSRUpscale"))
    assert torch.isfinite(out).all()


def test_the_stability_map(model: Loaded) -> None:
    node = NODE_CLASS_MAPPINGS["CCSRStabilityMap"]()
    values = {**defaults("CCSRStabilityMap"), "samples": 3}
    samples, colours, deviation = node.measure(model, frames(1, 8, 10), **values)
    assert samples.shape == (3, 32, 40, 3)
    assert colours.shape == (1, 32, 40, 3)
    expected = samples.numpy().astype(np.float64).std(axis=0).mean(axis=2)
    np.testing.assert_allclose(deviation[0].numpy(), expected, atol=1e-6)
    assert deviation.max() > 0


class Interrupted(Exception):  # noqa: N818 -- stands for ComfyUI's own
    pass


@pytest.fixture
def comfy(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The hooks of the host, and what they heard."""
    heard: dict[str, Any] = {"bar": [], "stop_at": None, "brought": []}

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int) -> None:
            assert total == self.total
            heard["bar"].append(value / total)

    def check() -> None:
        if heard["stop_at"] is not None and len(heard["bar"]) >= heard["stop_at"]:
            raise Interrupted

    class ModelPatcher:
        def __init__(self, model: torch.nn.Module, load_device: torch.device, offload_device: torch.device) -> None:
            self.model = model
            assert (load_device.type, offload_device.type) == ("cpu", "meta")

    def load_models_gpu(models: list[ModelPatcher], memory_required: int, force_full_load: bool) -> None:
        assert force_full_load
        heard["brought"].append((models[0].model, memory_required))

    utils, management = ModuleType("comfy.utils"), ModuleType("comfy.model_management")
    patcher = ModuleType("comfy.model_patcher")
    patcher.ModelPatcher = ModelPatcher  # type: ignore[attr-defined]
    utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
    management.throw_exception_if_processing_interrupted = check  # type: ignore[attr-defined]
    management.get_torch_device = lambda: torch.device("cpu")  # type: ignore[attr-defined]
    management.unet_offload_device = lambda: torch.device("meta")  # type: ignore[attr-defined]
    management.load_models_gpu = load_models_gpu  # type: ignore[attr-defined]
    for name, module in (("comfy", ModuleType("comfy")), ("comfy.utils", utils),
                         ("comfy.model_management", management), ("comfy.model_patcher", patcher)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    return heard


def test_progress_and_interrupt(model: Loaded, comfy: dict[str, Any]) -> None:
    node, values = NODE_CLASS_MAPPINGS["CCSRUpscale"](), defaults("CCSRUpscale")
    node.upscale(model, frames(2, 8, 8), **values)
    bar = comfy["bar"]
    assert bar == sorted(bar)
    assert len(bar) > 10
    assert bar[-1] > 0.95
    comfy["bar"].clear()
    comfy["stop_at"] = 5
    with pytest.raises(Interrupted):
        node.upscale(model, frames(2, 8, 8), **values)
    assert len(comfy["bar"]) == 5
    # The networks are whole again afterwards.
    comfy["stop_at"] = None
    node.upscale(model, frames(1, 8, 8), **values)


def test_the_host_manages_the_weights(tiny: str, comfy: dict[str, Any]) -> None:
    (model,) = NODE_CLASS_MAPPINGS["CCSRLoadModel"]().load("nano", "fp32", folder=tiny)
    assert comfy["brought"] == []
    NODE_CLASS_MAPPINGS["CCSRUpscale"]().upscale(model, frames(2, 8, 8), **defaults("CCSRUpscale"))
    networks = model.upscaler.networks
    for module, needed in comfy["brought"]:
        assert list(module) == [networks.unet, networks.controlnet, networks.vae]
        assert needed > 1e6
    assert len(comfy["brought"]) == 2


def test_diffusers_is_not_imported_for_nano() -> None:
    code = (
        "import sys, torch\n"
        "from ccsr.comfyui import NODE_CLASS_MAPPINGS as nodes\n"
        "(model,) = nodes['CCSRLoadModel']().load('nano', 'fp32')\n"
        "sr, _ = nodes['CCSRUpscale']().upscale(model, torch.rand(1, 8, 8, 3))\n"
        "print(tuple(sr.shape), 'diffusers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 32, 32, 3) False", done.stderr


def test_the_example_workflow_fits_the_nodes() -> None:
    """ComfyUI's API form: node id -> class_type and inputs, links as [id, output]."""
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    ours = {id: node for id, node in workflow.items() if node["class_type"] in NODE_CLASS_MAPPINGS}
    assert {node["class_type"] for node in ours.values()} == set(NODE_CLASS_MAPPINGS)
    assert {node["class_type"] for node in workflow.values()} - set(NODE_CLASS_MAPPINGS) == {
        "LoadImage", "SaveImage", "PreviewImage",
    }  # fmt: skip
    for node in ours.values():
        asked = NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
        known = {**asked["required"], **asked.get("optional", {})}
        assert set(node["inputs"]) <= set(known)
        assert set(asked["required"]) <= set(node["inputs"])
        for name, value in node["inputs"].items():
            kind = known[name][0]
            if isinstance(value, list):
                source, output = value
                if source in ours:
                    assert NODE_CLASS_MAPPINGS[ours[source]["class_type"]].RETURN_TYPES[output] == kind
            elif isinstance(kind, list):
                assert value in kind


def test_a_clone_in_custom_nodes(tmp_path: Path) -> None:
    """ComfyUI imports the folder as a package of any name, without torch having to be there yet."""
    (tmp_path / "ccsr-clone").symlink_to(ROOT)
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('node', {str(tmp_path / 'ccsr-clone' / '__init__.py')!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(sorted(module.NODE_CLASS_MAPPINGS), 'torch' in sys.modules)\n"
    )
    # Without site-packages: neither an installed ccsr nor anything else is there.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "['CCSRLoadModel', 'CCSRStabilityMap', 'CCSRUpscale'] False", done.stderr
    assert importlib.import_module("ccsr.comfyui").__all__ == ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

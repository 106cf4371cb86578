"""The nodes in a real ComfyUI, a checkout on a CPU, through its HTTP API; on demand, by `make test-comfyui`."""

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import skimage.data
from PIL import Image

from ccsr.comfyui import NODE_CLASS_MAPPINGS

pytest.importorskip("httpx2", reason="httpx2 is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")

import httpx2
from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples" / "comfyui-workflow.json"
CHECKOUT = os.environ.get("CCSR_COMFYUI", "")
pytestmark = pytest.mark.skipif(
    not CHECKOUT,
    reason="set CCSR_COMFYUI to a checkout of ComfyUI; what it and ccsr require must be in its venv or .venv, or in "
    "the Python that CCSR_COMFYUI_PYTHON names",
)


def python_of(checkout: Path) -> str:
    places = [checkout / name / "bin" / "python" for name in ("venv", ".venv")]
    found = next((str(place) for place in places if place.exists()), sys.executable)
    return os.environ.get("CCSR_COMFYUI_PYTHON") or found


class Host:
    """A running ComfyUI."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.http = httpx2.Client(base_url=f"http://{address}", timeout=None)
        self.client = uuid4().hex

    def info(self, node: str) -> dict[str, Any]:
        told: dict[str, Any] = self.http.get(f"/object_info/{node}").json()
        return told[node]

    def upload(self, name: str, picture: np.ndarray) -> None:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        assert self.http.post("/upload/image", files={"image": (name, file.getvalue())}).status_code == 200

    def run(self, workflow: dict[str, Any], stop_at: float = 2.0) -> tuple[str, dict[str, list[float]], str]:
        """Queue a workflow; returns its id, the shares of progress of each node as told, and the event that ended it.

        Once the upscaling node has told `stop_at`, it is interrupted as the page's button does it.
        """
        shares: dict[str, list[float]] = {}
        with connect(f"ws://{self.address}/ws?clientId={self.client}", max_size=None) as socket:
            asked = self.http.post("/prompt", json={"prompt": workflow, "client_id": self.client})
            assert asked.status_code == 200, asked.text
            id = asked.json()["prompt_id"]
            for message in socket:
                if isinstance(message, bytes):
                    continue  # a preview
                event = json.loads(message)
                kind, data = event["type"], event["data"]
                if data.get("prompt_id") != id:
                    continue
                if kind == "progress_state":
                    for node, state in data["nodes"].items():
                        shares.setdefault(node, []).append(state["value"] / state["max"])
                    if shares.get("3", [0])[-1] >= stop_at:
                        self.http.post("/interrupt", json={"prompt_id": id})
                if kind in ("execution_success", "execution_error", "execution_interrupted"):
                    assert kind != "execution_error", data
                    return id, shares, kind
        raise AssertionError("the host hung up")

    def pictures(self, id: str, node: str) -> list[Image.Image]:
        while not (history := self.http.get(f"/history/{id}").json()):
            time.sleep(0.1)
        saved = history[id]["outputs"][node]["images"]
        return [Image.open(io.BytesIO(self.http.get("/view", params=image).content)) for image in saved]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    base, checkout = tmp_path_factory.mktemp("comfyui"), Path(CHECKOUT).expanduser().resolve()
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "ccsr").symlink_to(ROOT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        python_of(checkout), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port),
        "--base-directory", str(base), "--disable-auto-launch", "--disable-api-nodes",
    ]  # fmt: skip
    log = base / "log.txt"
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=checkout, stdout=out, stderr=out)
    try:
        running = Host(f"127.0.0.1:{port}")
        while True:
            try:
                running.http.get("/system_stats")
                break
            except httpx2.TransportError:
                assert server.poll() is None, log.read_text(errors="replace")
                time.sleep(0.5)
        yield running
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def workflow() -> dict[str, Any]:
    """The example's upscaling half, from LoadImage to SaveImage."""
    known = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    return {id: node for id, node in known.items() if id in ("1", "2", "3", "4")}


def expected(picture: np.ndarray, **values: Any) -> np.ndarray:
    """The node's own result outside of the host, as SaveImage writes it."""
    import torch

    (model,) = NODE_CLASS_MAPPINGS["CCSRLoadModel"]().load("nano", "fp32")
    given = {
        name: settings[0]["default"]
        for name, (_, *settings) in NODE_CLASS_MAPPINGS["CCSRUpscale"].INPUT_TYPES()["required"].items()
        if settings
    }
    image = torch.from_numpy(picture).float()[None] / 255
    sr, _ = NODE_CLASS_MAPPINGS["CCSRUpscale"]().upscale(model, image, **{**given, **values})
    return (sr[0].numpy() * 255).clip(0, 255).astype(np.uint8)


def test_the_host_shows_the_nodes_as_they_are(host: Host) -> None:
    for name, node in NODE_CLASS_MAPPINGS.items():
        told = host.info(name)
        assert told["category"] == "image/upscaling"
        assert told["output"] == list(node.RETURN_TYPES)
        assert told["input"] == json.loads(json.dumps(node.INPUT_TYPES()))


def test_a_workflow_to_save_image_with_progress(host: Host, workflow: dict[str, Any]) -> None:
    picture = skimage.data.coffee()[100:160, 200:290]
    host.upload("cup.png", picture)
    workflow["1"]["inputs"]["image"] = "cup.png"
    workflow["2"]["inputs"]["dtype"] = "fp32"
    workflow["3"]["inputs"] |= {"scale": 3.0, "steps": 2}
    id, shares, ending = host.run(workflow)
    assert ending == "execution_success"
    assert shares["3"] == sorted(shares["3"])
    assert len({share for share in shares["3"] if 0 < share < 1}) > 5
    (saved,) = host.pictures(id, "4")
    assert saved.size == (270, 180)
    got, wanted = (np.asarray(image).astype(int) for image in (saved, expected(picture, scale=3.0, steps=2)))
    # Another build of torch, and SaveImage cuts instead of rounding.
    assert np.abs(got - wanted).max() <= 2
    assert np.abs(got - wanted).mean() < 0.1


def test_an_interrupt_and_what_comes_after_unloading(host: Host, workflow: dict[str, Any]) -> None:
    host.upload("large.png", skimage.data.astronaut())
    workflow["1"]["inputs"]["image"] = "large.png"
    _, shares, ending = host.run(workflow, stop_at=0.1)
    assert ending == "execution_interrupted"
    assert max(shares["3"]) < 0.9
    # The host lets go of the weights, and has them again for the next one.
    assert host.http.post("/free", json={"unload_models": True}).status_code == 200
    host.upload("small.png", skimage.data.astronaut()[:40, :30])
    workflow["1"]["inputs"]["image"] = "small.png"
    id, _, ending = host.run(workflow)
    assert ending == "execution_success"
    assert [image.size for image in host.pictures(id, "4")] == [(120, 160)]


def test_the_whole_example_with_a_mask(host: Host) -> None:
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    cut = np.dstack([skimage.data.coffee()[:24, :32], np.full((24, 32), 255, np.uint8)])
    cut[:, :16, 3] = 0
    host.upload("example.png", cut)
    id, shares, ending = host.run(workflow)
    assert ending == "execution_success"
    assert {"3", "5"} <= set(shares)
    for node in ("4", "6"):
        assert [image.size for image in host.pictures(id, node)] == [(128, 96)]

"""A server in this process with a tiny model, and one whose pipeline waits to be let go."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='the extra "serve" is not installed')

import uvicorn
from starlette.testclient import TestClient

from ccsr.serve.app import create_app
from ccsr.serve.run import configured
from ccsr.serve.service import Service
from ccsr.serve.settings import ServeSettings
from ccsr.serve.worker import load_pipeline


class Gate:
    """The real pipeline behind a gate; while it is shut, upscaling tells progress and gets nowhere."""

    def __init__(self) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        self.loads = 0

    def factory(self, model: Any, options: Any) -> "Gate":
        self.loads += 1
        self._real = load_pipeline(model, options)
        return self

    def upscale(self, picture, options, plan, sample=0, on_progress=None):  # type: ignore[no-untyped-def]
        self.reached.set()
        while not self.opened.wait(0.01):
            on_progress(1, 1000, "encode")
        return self._real.upscale(picture, options, plan, sample, on_progress)


class Serving:
    """One running server."""

    def __init__(self, client: TestClient, service: Service) -> None:
        self.client, self.service = client, service

    def job(self, *files: tuple[str, bytes], **fields: str) -> str:
        answer = self.client.post("/v1/jobs", files=[("file", file) for file in files], data=fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def ended(self, id: str) -> dict[str, Any]:
        while True:
            told: dict[str, Any] = self.client.get(f"/v1/jobs/{id}").json()
            if told["state"] in ("done", "failed", "cancelled"):
                return told
            time.sleep(0.02)


@contextmanager
def listening_at(service: Service, port: int = 0) -> Iterator[str]:
    """A server on a real port, in a thread of this process."""
    config = configured(create_app(service), service.settings)
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


Start = Callable[..., Serving]


@pytest.fixture
def start(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a server: settings as keywords, `gate` for one that waits; all are closed at the end."""
    monkeypatch.setenv("CCSR_HOME", str(tmp_path / "home"))
    with ExitStack() as stack:

        def started(gate: Gate | None = None, **settings: Any) -> Serving:
            known = {"model": tiny, "data": str(tmp_path / "data"), "threads": 1, "device": "cpu", **settings}
            service = Service(ServeSettings.from_mapping(known), gate.factory if gate else load_pipeline)
            client = TestClient(create_app(service), base_url="http://127.0.0.1")
            return Serving(stack.enter_context(client), service)

        yield started

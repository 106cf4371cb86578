"""Queue, cancelling, time-outs, restart and expiry."""

import gc
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from ccsr.cli.main import main
from ccsr.errors import CCSRError
from ccsr.serve.memory import give_back
from ccsr.serve.service import Service
from ccsr.serve.settings import ServeSettings
from ccsr.serve.store import Store
from helpers import write_picture

from .conftest import Gate, Start, listening_at
from .test_api import picture, problem


def test_a_full_queue(start: Start, tmp_path: Path) -> None:
    gate = Gate()
    serving = start(gate, queue=2)
    running = serving.job(picture(tmp_path))
    assert gate.reached.wait()
    waiting = [serving.job(picture(tmp_path)) for _ in range(2)]
    for address in ("/v1/jobs", "/v1/upscale"):
        answer = serving.client.post(address, files={"file": picture(tmp_path)})
        assert problem(answer, 429).startswith("2 jobs wait already, the limit is 2 (come back in ")
        assert 1 <= int(answer.headers["retry-after"]) <= 3600
    told = [serving.client.get(f"/v1/jobs/{id}").json() for id in (running, *waiting)]
    assert [(t["state"], t["position"]) for t in told] == [("running", 0), ("queued", 1), ("queued", 2)]
    gate.opened.set()
    assert [serving.ended(id)["state"] for id in (running, *waiting)] == ["done"] * 3
    # One load serves all jobs.
    assert gate.loads == 1
    assert len(list((tmp_path / "data" / "jobs").iterdir())) == 3


def test_cancel_a_running_and_a_waiting_job(start: Start, tmp_path: Path) -> None:
    gate = Gate()
    serving = start(gate)
    running, waiting, last = (serving.job(picture(tmp_path)) for _ in range(3))
    assert gate.reached.wait()
    assert serving.client.delete(f"/v1/jobs/{waiting}").json() == {"id": waiting, "state": "cancelled"}
    assert serving.client.delete(f"/v1/jobs/{running}").status_code == 202
    assert serving.ended(running)["state"] == "cancelled"
    problem(serving.client.get(f"/v1/jobs/{running}/result"), 409)
    gate.opened.set()
    assert serving.ended(last)["state"] == "done"
    # What ended is removed by the same call.
    assert serving.client.delete(f"/v1/jobs/{last}").status_code == 204
    problem(serving.client.get(f"/v1/jobs/{last}"), 404)
    assert not (tmp_path / "data" / "jobs" / last).exists()


def test_cancel_stops_the_networks_midway(start: Start, tmp_path: Path) -> None:
    serving = start(model="nano")
    path = write_picture(tmp_path / "large.png", 400, 400)
    id = serving.job(("large.png", path.read_bytes()))
    while serving.client.get(f"/v1/jobs/{id}").json()["progress"] < 0.05:
        time.sleep(0.02)
    serving.client.delete(f"/v1/jobs/{id}")
    told = serving.ended(id)
    assert told["state"] == "cancelled"
    assert told["progress"] < 1


def test_time_out_of_a_job(start: Start, tmp_path: Path) -> None:
    serving = start(Gate(), job_seconds=0.3)
    told = serving.ended(serving.job(picture(tmp_path)))
    assert told["state"] == "failed"
    assert told["error"] == "the job took longer than the 0.3 s that are allowed (ask for less)"


def test_time_out_of_a_call(start: Start, tmp_path: Path) -> None:
    serving = start(Gate(), wait_seconds=0.3)
    answer = serving.client.post("/v1/upscale", files={"file": picture(tmp_path)})
    assert problem(answer, 504) == "not done after 0.3 s (post it to /v1/jobs)"
    assert not list((tmp_path / "data" / "jobs").iterdir())


def test_a_call_is_answered_in_time_though_its_work_does_not_stop(tmp_path: Path, tiny: str) -> None:
    class Deaf(Gate):
        def upscale(self, *_, **__):  # type: ignore[no-untyped-def]
            self.opened.wait()
            raise CCSRError("stopped at last")

    gate = Deaf()
    known = {"model": tiny, "data": str(tmp_path / "data"), "threads": 1, "device": "cpu", "wait_seconds": 0.3}
    with listening_at(Service(ServeSettings.from_mapping(known), gate.factory)) as address:
        try:
            answer = httpx2.post(f"{address}/v1/upscale", files={"file": picture(tmp_path)}, timeout=None)
            assert problem(answer, 504) == "not done after 0.3 s (post it to /v1/jobs)"
        finally:
            gate.opened.set()
        while list((tmp_path / "data" / "jobs").iterdir()):
            time.sleep(0.05)


def test_a_client_that_goes_away(start: Start, tmp_path: Path, tiny: str) -> None:
    gate = Gate()
    known = {"model": tiny, "data": str(tmp_path / "data"), "threads": 1, "device": "cpu"}
    with listening_at(Service(ServeSettings.from_mapping(known), gate.factory)) as address:
        body = httpx2.Request("POST", f"{address}/v1/upscale", files={"file": picture(tmp_path)})
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as client:
            lines = ["POST /v1/upscale HTTP/1.1\r\n", *(f"{k}: {v}\r\n" for k, v in body.headers.items()), "\r\n"]
            client.sendall("".join(lines).encode() + body.read())
            assert gate.reached.wait()
        # The client has left in the middle: its work is stopped and its files go.
        while True:
            health = httpx2.get(f"{address}/healthz").json()
            if not health["running"] and not list((tmp_path / "data" / "jobs").iterdir()):
                break
            time.sleep(0.05)
        assert (health["running"], health["waiting"]) == (0, 0)


def test_a_worker_outlives_a_disk_that_is_full(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = start()
    kept = serving.service.store.add_result

    def full(*_: object) -> None:
        raise CCSRError("the jobs cannot be kept: disk full")

    monkeypatch.setattr(serving.service.store, "add_result", full)
    told = serving.ended(serving.job(picture(tmp_path)))
    assert (told["state"], told["error"]) == ("failed", "the jobs cannot be kept: disk full")
    monkeypatch.setattr(serving.service.store, "add_result", kept)
    assert serving.ended(serving.job(picture(tmp_path)))["state"] == "done"
    assert serving.client.get("/healthz").json()["status"] == "ok"


def test_what_the_pipeline_refuses_is_the_clients_fault(start: Start, tmp_path: Path) -> None:
    serving = start()
    answer = serving.client.post("/v1/upscale", files={"file": picture(tmp_path)}, data={"guidance": "4"})
    assert "has no negative embedding" in problem(answer, 422)
    told = serving.ended(serving.job(picture(tmp_path), guidance="4"))
    assert told["state"] == "failed"
    assert "has no negative embedding" in told["error"]


def test_expired_jobs_go(start: Start, tmp_path: Path) -> None:
    serving = start(keep_hours=1)
    id = serving.job(picture(tmp_path))
    told = serving.ended(id)
    assert told["expires"] - told["created"] == pytest.approx(3600, abs=60)
    serving.service.store.sweep(time.time() - 3600)
    assert serving.client.get(f"/v1/jobs/{id}").status_code == 200
    serving.service.store.sweep(time.time() + 1)
    problem(serving.client.get(f"/v1/jobs/{id}"), 404)
    assert not (tmp_path / "data" / "jobs" / id).exists()


def test_one_server_per_folder(start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(CCSRError, match="another server uses this folder"):
        start()


def test_a_store_from_a_newer_version(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(CCSRError, match="the jobs are from a newer version"):
        Store(tmp_path)


def test_orphans_and_calls_go_at_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data" / "jobs" / "left-over").mkdir(parents=True)
    start()
    assert not list((tmp_path / "data" / "jobs").iterdir())


def test_what_a_stopped_job_left_is_let_go() -> None:
    class Held:
        pass

    held = Held()
    held.itself = held  # type: ignore[attr-defined]
    known = weakref.ref(held)
    gc.disable()
    try:
        del held
        assert known() is not None
        give_back()
        assert known() is None
    finally:
        gc.enable()


def test_the_browser_is_opened_once_the_page_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened, told = threading.Event(), []

    def opens(address: str) -> None:
        told.append(address)
        opened.set()

    def serve(settings: ServeSettings, on_ready: Any, verbose: bool) -> None:
        told.append(settings.token)
        on_ready("http://127.0.0.1:1")

    (tmp_path / "token").write_text("from-a-file", encoding="ascii")
    monkeypatch.setenv("CCSR_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setattr("webbrowser.open", opens)
    monkeypatch.setattr("ccsr.serve.run.serve", serve)
    assert main(["serve", "--open"]) == 0
    opened.wait()
    assert told == ["from-a-file", "http://127.0.0.1:1"]


# -- a real process ---------------------------------------------------------------------------------------------------


class Process:
    """`ccsr serve` as users start it."""

    def __init__(self, data: Path, model: str, *words: str, **environment: str) -> None:
        command = [sys.executable, "-m", "ccsr", "serve", "--port", "0", "--data", str(data), "-m", model]
        command += ["--threads", "1", "--device", "cpu", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("open http://127.0.0.1:"), line
        self.address = line.split()[1]
        # The page's own name for the pipe: read on, so that it never fills.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def end(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_restart_loses_nothing(tmp_path: Path, how: int) -> None:
    pictures = [write_picture(tmp_path / f"{n}.png", 48, 48, seed=n) for n in range(4)]
    data = tmp_path / "data"
    first = Process(data, "nano")
    try:
        body = [("file", (path.name, path.read_bytes())) for path in pictures]
        id = httpx2.post(f"{first.address}/v1/jobs", files=body).json()["id"]
        other = httpx2.post(f"{first.address}/v1/jobs", files=body[:1], data={"scale": "2"}).json()["id"]
        while True:
            told = httpx2.get(f"{first.address}/v1/jobs/{id}").json()
            if told["files"]:
                break
            time.sleep(0.05)
        made = told["files"][0]
        before = httpx2.get(f"{first.address}{made['links']['result']}").content
    finally:
        first.end(how)
    second = Process(data, "nano")
    try:
        for wanted in (id, other):
            while True:
                told = httpx2.get(f"{second.address}/v1/jobs/{wanted}").json()
                if told["state"] not in ("queued", "running"):
                    break
                time.sleep(0.05)
            assert told["state"] == "done", told
        told = httpx2.get(f"{second.address}/v1/jobs/{id}").json()
        assert sorted(f["input"] for f in told["files"]) == ["0.png", "1.png", "2.png", "3.png"]
        # The first result was not made again: its record and its bytes are those of before the stop.
        assert told["files"][0] == made
        assert httpx2.get(f"{second.address}{made['links']['result']}").content == before
        whole = httpx2.get(f"{second.address}/v1/jobs/{id}/result?index=3").content
        assert second.end() == 0
    finally:
        second.process.kill()
    # The same bytes as from the command line, whatever happened in between.
    assert (
        main(["upscale", str(pictures[3]), "-o", str(tmp_path / "cli.png"), "--threads", "1", "--device", "cpu"]) == 0
    )
    (tmp_path / "http.png").write_bytes(whole)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "http.png")), np.asarray(Image.open(tmp_path / "cli.png"))
    )

"""A slow disk keeps nobody but those who need it: no lock is held over a commit, and the event loop never waits."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ccsr.errors import CCSRError
from ccsr.serve.store import Store, StoredJob

from .conftest import Gate, Start
from .test_api import picture, problem

DISK = ("new_id", "add", "set_state", "add_result", "set_spread", "get", "unfinished", "remove", "sweep")


def in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_the_store_is_called_without_the_lock_and_outside_of_the_event_loop(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()
    wrong: list[str] = []
    lock: Any = None

    def watched(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.add(name)
            if in_event_loop():
                wrong.append(f"{name} in the event loop")
            if lock is not None and lock._is_owned():
                wrong.append(f"{name} with the queue's lock held")
            return real(*args, **kwargs)

        return call

    for name in DISK:
        monkeypatch.setattr(Store, name, watched(name, getattr(Store, name)))
    gate = Gate()
    serving = start(gate)
    lock = serving.service.queue._changed
    client = serving.client

    running, waiting, last = (serving.job(picture(tmp_path), samples="2") for _ in range(3))
    assert gate.reached.wait()
    assert client.delete(f"/v1/jobs/{waiting}").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{running}").status_code == 202
    assert serving.ended(running)["state"] == "cancelled"
    gate.opened.set()
    assert client.get(f"/v1/jobs/{last}/events").text.count("event: end") == 1
    for what in ("", "/events", "/result", "/result?index=0&format=webp", "/input", "/stability", "/difference"):
        assert client.get(f"/v1/jobs/{last}{what}").status_code == 200
        problem(client.get(f"/v1/jobs/0123{what}"), 404)
    assert client.post("/v1/upscale", files={"file": picture(tmp_path)}).status_code == 200
    problem(client.post("/v1/upscale", files={"file": picture(tmp_path)}, data={"samples": "2"}), 422)
    problem(client.post("/v1/jobs", files={"file": picture(tmp_path)}, data={"scale": "9"}), 422)
    assert client.delete(f"/v1/jobs/{last}").status_code == 204
    problem(client.delete(f"/v1/jobs/{last}"), 404)
    assert wrong == []
    assert called == set(DISK)


def test_a_job_has_its_place_while_it_is_written(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, begun, may_end = Gate(), threading.Event(), threading.Event()
    serving = start(gate, queue=1)
    running = serving.job(picture(tmp_path))
    assert gate.reached.wait()
    real = Store.add

    def slow(store: Store, job: StoredJob) -> None:
        begun.set()
        may_end.wait()
        real(store, job)

    def refused(store: Store, job: StoredJob) -> None:
        raise CCSRError("the jobs cannot be kept: disk full")

    monkeypatch.setattr(Store, "add", slow)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(serving.job, picture(tmp_path))
        try:
            begun.wait()
            # Nobody can see it yet, and nobody gets the last place in the meantime.
            answer = serving.client.post("/v1/jobs", files={"file": picture(tmp_path)})
            assert problem(answer, 429).startswith("1 jobs wait already, the limit is 1 (")
        finally:
            may_end.set()
    assert serving.client.delete(f"/v1/jobs/{waiting.result()}").json()["state"] == "cancelled"
    # A place is given back where the store refuses the job.
    monkeypatch.setattr(Store, "add", refused)
    for _ in range(2):
        answer = serving.client.post("/v1/jobs", files={"file": picture(tmp_path)})
        assert problem(answer, 500) == "the jobs cannot be kept: disk full"
    monkeypatch.setattr(Store, "add", real)
    last = serving.job(picture(tmp_path))
    gate.opened.set()
    assert [serving.ended(id)["state"] for id in (running, last)] == ["done", "done"]


@pytest.fixture
def commit(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Whether the end of a job is being committed, and leave for it to go on."""
    begun, may_end = threading.Event(), threading.Event()
    real = Store.set_state

    def slow(store: Store, job: str, state: Any, *args: Any) -> None:
        if state == "done":
            begun.set()
            may_end.wait()
        real(store, job, state, *args)

    monkeypatch.setattr(Store, "set_state", slow)
    yield begun, may_end
    may_end.set()


def test_while_a_commit_takes_its_time(
    start: Start, tmp_path: Path, commit: tuple[threading.Event, threading.Event]
) -> None:
    begun, may_end = commit
    serving = start()
    try:
        first = serving.job(picture(tmp_path))
        begun.wait()
        lock = serving.service.queue._changed
        assert lock.acquire(blocking=False), "the lock is held over a commit"
        lock.release()
        assert serving.client.get("/page/app.js").status_code == 200
        second = serving.job(picture(tmp_path))
        states = [serving.client.get(f"/v1/jobs/{id}").json() for id in (first, second)]
        # The first is done when that is kept, and not before.
        assert [(s["state"], s["position"], len(s["files"])) for s in states] == [("running", 0, 1), ("queued", 1, 0)]
        assert serving.client.get("/healthz").json()["waiting"] == 1
    finally:
        may_end.set()
    assert [serving.ended(id)["state"] for id in (first, second)] == ["done", "done"]

"""A job's progress as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from ccsr.serve.service import Service
from ccsr.serve.store import FINAL

HEARTBEAT_SECONDS = 15.0


async def events_of(service: Service, id: str) -> AsyncIterator[str]:
    """`file` for each result, `progress` whenever it changed, and last `end`; starts with what is known already."""
    sent_files, sent_progress = 0, ""
    with service.queue.listening(id) as changed:
        while True:
            changed.clear()
            job = await run_in_threadpool(service.view, id)
            if job is None:
                yield _event("end", {"id": id, "state": "cancelled"})
                return
            for file in job.files[sent_files:]:
                yield _event("file", file.model_dump())
            sent_files = len(job.files)
            progress = _event("progress", job.model_dump(include={"state", "progress", "seconds_left", "position"}))
            if progress != sent_progress:
                sent_progress = progress
                yield progress
            if job.state in FINAL:
                yield _event("end", job.model_dump())
                return
            try:
                # A queued job's time left runs down without a change of its own.
                await asyncio.wait_for(changed.wait(), 1 if job.state == "queued" else HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"
            await asyncio.sleep(0.1)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"

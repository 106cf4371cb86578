"""A job's progress as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from ccsr.serve.service import FINAL, Service

HEARTBEAT_SECONDS = 15.0


async def events_of(service: Service, id: str) -> AsyncIterator[str]:
    """`file` for each result, `progress` whenever it changed, and last `end`; starts with what is known already."""
    told_files, told_progress = 0, ""
    with service.listening(id) as news:
        while True:
            news.clear()
            job = service.view(id)
            if job is None:
                yield _event("end", {"id": id, "state": "cancelled"})
                return
            for file in job["files"][told_files:]:
                yield _event("file", file)
            told_files = len(job["files"])
            progress = _event("progress", {k: job[k] for k in ("state", "progress", "seconds_left", "position")})
            if progress != told_progress:
                told_progress = progress
                yield progress
            if job["state"] in FINAL:
                yield _event("end", job)
                return
            try:
                # A queued job's time runs down without news of its own.
                await asyncio.wait_for(news.wait(), 1 if job["state"] == "queued" else HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"
            await asyncio.sleep(0.1)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"

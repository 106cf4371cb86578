"""Load on `ccsr serve`: many clients with small pictures, each waiting for its answer before it sends the next.

python benchmarks/serve_load.py [CLIENTS [PICTURES]]     default: 50 clients, 20 pictures each
"""

import asyncio
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

WIDTH, HEIGHT, SCALE = 48, 32, 2


def picture(seed: int) -> bytes:
    """A small smooth PNG."""
    noise = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def resident(process: int) -> float:
    """Megabytes of memory that a process holds."""
    line = next(s for s in Path(f"/proc/{process}/status").read_text().splitlines() if s.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def load(address: str, process: int, clients: int, each: int) -> dict[str, object]:
    """Send everything; the figures."""
    seconds: list[float] = []
    memory: list[float] = []
    told_to_wait = 0

    async def client(number: int) -> None:
        nonlocal told_to_wait
        async with httpx2.AsyncClient(timeout=600) as http:
            for turn in range(each):
                body = {"file": ("small.png", picture(number * each + turn))}
                begin = time.perf_counter()
                while True:
                    answer = await http.post(f"{address}/v1/upscale", files=body, data={"scale": str(SCALE)})
                    if answer.status_code != 429:
                        break
                    told_to_wait += 1
                    await asyncio.sleep(int(answer.headers["retry-after"]))
                seconds.append(time.perf_counter() - begin)
                answer.raise_for_status()
                size = Image.open(io.BytesIO(answer.content)).size
                if size != (WIDTH * SCALE, HEIGHT * SCALE):
                    raise ValueError(f"a result of {size}")
                if len(seconds) % max(1, clients * each // 10) == 0:
                    memory.append(round(resident(process), 1))

    begin = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    whole = time.perf_counter() - begin
    health = (await httpx2.AsyncClient().get(f"{address}/healthz")).json()
    return {
        "pictures": len(seconds),
        "seconds": round(whole, 1),
        "per_second": round(len(seconds) / whole, 1),
        "median_wait": round(float(np.median(seconds)), 2),
        "p99_wait": round(float(np.percentile(seconds, 99)), 2),
        "told_to_wait": told_to_wait,
        "memory_mb": memory,
        "left_waiting": health["waiting"] + health["running"],
        "cores": len(os.sched_getaffinity(0)),
    }


def main(clients: int = 50, each: int = 20) -> dict[str, object]:
    """A server of its own, then the load on it."""
    with tempfile.TemporaryDirectory() as data:
        # One thread: so small a picture gains nothing from more, and loses much on a machine that others use, too.
        command = [sys.executable, "-m", "ccsr", "serve", "--port", "0", "--data", data, "--threads", "1"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            found = re.match(r"open (\S+) in", server.stderr.readline())
            assert found is not None
            return asyncio.run(load(found[1], server.pid, clients, each))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))

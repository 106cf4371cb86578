"""Code blocks of the documentation run, in order, in one namespace per page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import write_picture

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, kind: str) -> list[str]:
    """The blocks of exactly this kind: `python gpu` is not `python`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        body for said, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if said == kind
    ]


@pytest.mark.parametrize("page", ["diffusers.md"])
def test_python_blocks(page: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "photo.jpg", 24, 16)
    names: dict[str, object] = {}
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(compile(block, page, "exec"), names)  # noqa: S102 -- our own documentation
    assert "(999, " in capsys.readouterr().out


def test_the_web_page_of_the_documentation(desk: Path) -> None:
    """Its shell and Python blocks against a server that its own command line started."""
    pytest.importorskip("fastapi", reason='the extra "serve" is not installed')
    if not shutil.which("curl"):
        pytest.skip("curl is not here")
    write_picture(desk / "photo.jpg", 24, 16)
    write_picture(desk / "other.png", 16, 16)
    command = [sys.executable, "-m", "ccsr", "serve", "--port", "0", "--data", str(desk / "data"), "--threads", "1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "CCSR_OFFLINE": "1"})
    try:
        assert server.stderr is not None
        address = server.stderr.readline().split()[1]
        for kind, run in (("sh", ["bash", "-euo", "pipefail", "-c"]), ("python", [sys.executable, "-c"])):
            found = [b.replace("http://127.0.0.1:8765", address) for b in blocks("web.md", kind)]
            assert found
            done = subprocess.run([*run, "\n".join(found)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr + done.stdout
        assert {"photo_x2.jpg", "results.zip", "photo_x4.png"} <= {p.name for p in desk.iterdir()}
    finally:
        server.terminate()
        server.wait()

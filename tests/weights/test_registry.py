"""Names, folders and hub ids; the hub is a small server on this machine that speaks the hub's protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from ccsr.errors import WeightsError
from ccsr.weights import cache_folder, find_folder, registry

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_folder_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    assert find_folder(str(tmp_path / "mine")) == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert find_folder("./mine").resolve() == tmp_path / "mine"


def test_a_name_is_found_on_the_users_shelf(tmp_path: Path) -> None:
    shelf = tmp_path / "home" / "models" / "photographs"
    shelf.mkdir(parents=True)
    (shelf / "model_index.json").write_text("{}")
    assert find_folder("photographs") == shelf
    with pytest.raises(WeightsError, match=r"^no model or folder is called photograps \(did you mean photographs\?\)$"):
        find_folder("photograps")


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(WeightsError, match=f"^{tmp_path / 'model.ckpt'}: this is a file, a model is a folder"):
        find_folder(str(tmp_path / "model.ckpt"))


@pytest.mark.parametrize("name", ["./missing/folder", "/missing/folder", "~/missing/folder", "a/b/c", "what?"])
def test_what_looks_like_a_path_never_reaches_the_hub(name: str) -> None:
    with pytest.raises(WeightsError, match=r"^no model or folder is called"):
        find_folder(name)


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        (Unix, "XDG_CACHE_HOME", "ccsr"),
        (Windows, "LOCALAPPDATA", "ccsr/Cache"),
        (MacOS, "HOME", "Library/Caches/ccsr"),
    ],
)
def test_cache_folder_of_each_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: type, variable: str, folder: str
) -> None:
    assert cache_folder() == tmp_path / "home"
    for name in ("CCSR_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platformdirs, "PlatformDirs", platform)
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda _: os.environ["LOCALAPPDATA"])
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache_folder() == tmp_path / folder


class Hub(ThreadingHTTPServer):
    """Serves one folder as the repository `someone/model` and notes what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked = folder, list[str]()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        files = {p.relative_to(self.server.folder).as_posix(): p for p in self.server.folder.rglob("*") if p.is_file()}
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/someone/model/revision/") and path.rpartition("/")[2] in ("main", "v1", COMMIT):
            self.answer(
                json.dumps({"id": "someone/model", "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]})
            )
        elif path == f"/api/models/someone/model/tree/{COMMIT}":
            listed = [{"type": "file", "path": f, "size": p.stat().st_size, "oid": oid(p)} for f, p in files.items()]
            self.answer(json.dumps(listed))
        elif (name := path.removeprefix(f"/someone/model/resolve/{COMMIT}/")) in files:
            self.answer(files[name].read_bytes(), ETag=f'"{oid(files[name])}"')
        else:
            code = "RevisionNotFound" if "/someone/model/" in path else "RepoNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def answer(self, content: bytes | str, **headers: str) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(200)
        for key, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324 -- only a name


@pytest.fixture
def hub(packed: Path) -> Iterator[Hub]:
    (packed / "pipeline.py").write_text("raise SystemExit('this ran')")
    (packed / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (packed / "v2-1_512.safetensors").write_bytes(b"a whole model in one file")
    server = Hub(packed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def describe_apart(name: str, home: Path, endpoint: str, **variables: str) -> str:
    """Name and folder of a described model, or the error's line; apart, as the hub's client reads its settings once."""
    program = (
        "from ccsr.errors import CCSRError\nfrom ccsr.weights import describe, verify_model\n"
        f"try: d = describe({name!r}); print(d.name, d.folder.name, verify_model({name!r}))\n"
        "except CCSRError as error: print(error)"
    )
    environment = os.environ | {"CCSR_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "*"} | variables
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_hub_model_is_fetched_once_and_only_what_belongs_to_it(hub: Hub, tmp_path: Path) -> None:
    endpoint, home = f"http://127.0.0.1:{hub.server_port}", tmp_path / "hub home"
    assert describe_apart("someone/model@v1", home, endpoint) == f"packed {COMMIT} []"
    assert any("/revision/v1" in path for path in hub.asked)
    resolved = {path.rpartition(f"{COMMIT}/")[2] for path in hub.asked if "/resolve/" in path}
    assert "unet/diffusion_pytorch_model.safetensors" in resolved
    assert not resolved & {"pipeline.py", "unet/diffusion_pytorch_model.bin", "v2-1_512.safetensors"}
    kept = {p.name for p in home.rglob("*") if p.parent.name != "blobs"}
    assert "pipeline.py" not in kept
    hub.asked.clear()
    assert describe_apart("someone/model@v1", home, endpoint, CCSR_OFFLINE="1") == f"packed {COMMIT} []"
    assert hub.asked == []


def test_a_hub_models_other_weights_are_fetched_where_it_has_no_better(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "manifest.json").unlink()
    (hub.folder / "unet" / "diffusion_pytorch_model.bin").unlink()
    (hub.folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
        hub.folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    )
    (hub.folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not needed")
    endpoint, home = f"http://127.0.0.1:{hub.server_port}", tmp_path / "hub home"
    assert describe_apart("someone/model", home, endpoint).startswith(f"someone/model {COMMIT}")
    resolved = {path.rpartition(f"{COMMIT}/")[2] for path in hub.asked if "/resolve/" in path}
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in resolved
    assert "vae/diffusion_pytorch_model.fp16.safetensors" not in resolved


def test_a_hub_mirror_with_its_parts_in_a_folder_is_fetched(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "stable-diffusion-2-1-base").mkdir()
    for part in ("unet", "scheduler", "embeddings.safetensors"):
        (hub.folder / part).rename(hub.folder / "stable-diffusion-2-1-base" / part)
    for name in ("model_index.json", "manifest.json"):
        (hub.folder / name).unlink()
    endpoint, home = f"http://127.0.0.1:{hub.server_port}", tmp_path / "hub home"
    assert describe_apart("someone/model", home, endpoint).startswith(f"someone/model {COMMIT}")


def test_hub_failures_are_one_line(hub: Hub, tmp_path: Path) -> None:
    endpoint, home = f"http://127.0.0.1:{hub.server_port}", tmp_path / "hub home"
    assert describe_apart("someone/model", home, endpoint, CCSR_OFFLINE="1") == (
        "someone/model is neither a folder nor in the cache, and CCSR_OFFLINE forbids asking the hub"
    )
    assert hub.asked == []
    assert describe_apart("someone/model@nowhere", home, endpoint) == (
        "the hub has no such revision: someone/model@nowhere"
    )
    assert describe_apart("nobody/model", home, endpoint) == (
        "neither a folder nor a hub model is called nobody/model (a private one needs HF_TOKEN)"
    )


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    # Port 9 (discard) has no listener on an ordinary machine.
    assert describe_apart("someone/model", tmp_path / "hub home", "http://127.0.0.1:9") == (
        "someone/model is neither a folder nor in the cache, and the hub cannot be reached"
    )


def test_where_the_home_cannot_be_written_the_cache_is_elsewhere_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CCSR_HOME", "/proc/1/nowhere")
    own = tmp_path / f"ccsr-{os.getuid()}"
    assert registry.writable_cache_folder() == own
    assert own.stat().st_mode & 0o777 == 0o700
    assert caplog.messages == [
        f"/proc/1/nowhere cannot be written: downloads go to {own} (CCSR_HOME sets another place)"
    ]
    own.rmdir()
    (tmp_path / "trap").mkdir()
    own.symlink_to(tmp_path / "trap")
    with pytest.raises(WeightsError, match="belongs to somebody else"):
        registry.writable_cache_folder()
    monkeypatch.setenv("CCSR_HOME", str(tmp_path / "fine"))
    assert registry.writable_cache_folder() == tmp_path / "fine"

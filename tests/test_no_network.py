"""The main path needs no network: it runs to its end with every contact refused, and where it can be, without any."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ccsr.cli.main import main
from helpers import program, write_picture

# One of the libraries looks whether there is IPv6 as it is imported, by a socket that it binds: contact is refused.
REFUSED = (
    "import socket\n"
    "def refuse(*arguments, **names): raise SystemExit('somebody was to be contacted')\n"
    "for name in ('connect', 'connect_ex', 'sendto', 'sendmsg', 'listen'): setattr(socket.socket, name, refuse)\n"
    "socket.getaddrinfo = socket.create_connection = socket.gethostbyname = refuse"
)


def without_network() -> list[str]:
    """A command that takes the network away from the next one, where the system lets it."""
    command = ["unshare", "--map-root-user", "--net"]
    try:
        return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else []
    except FileNotFoundError:
        return []


def test_the_block_holds(tmp_path: Path) -> None:
    code = REFUSED + "\nimport urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    tried = subprocess.run(program(limit=code), capture_output=True, text=True, cwd=tmp_path)
    assert (tried.returncode, tried.stderr.strip()) == (1, "somebody was to be contacted")


@pytest.mark.parametrize("words", [["upscale", "photo.png", "--json", "--threads", "1"], ["models", "info", "nano"],
                                   ["models", "verify", "nano"]], ids=" ".join)  # fmt: skip
def test_the_main_path_contacts_nobody(desk: Path, words: list[str]) -> None:
    write_picture(desk / "photo.png", 16, 12)
    done = subprocess.run([*without_network(), *program(*words, limit=REFUSED)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if words[0] == "upscale":
        assert json.loads(done.stdout.splitlines()[0])["status"] == "done"


def test_a_log_holds_names_and_reasons_but_no_picture_and_no_token(
    desk: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All that the program can say (-v and --json), with a token around and a picture whose bytes would be noticed."""
    notes = PngInfo()
    notes.add_text("Comment", "secret-of-the-picture")
    Image.new("RGB", (16, 12), (1, 2, 3)).save("photo.png", pnginfo=notes)
    Path("broken.png").write_bytes(Path("photo.png").read_bytes()[:-40])
    monkeypatch.setenv("HF_TOKEN", "hf_secrettoken")
    monkeypatch.setenv("CCSR_TOKEN", "secrettoken")
    words = ["upscale", "photo.png", "broken.png", "-o", "out", "-m", tiny, "-v", "--json", "--threads", "1"]
    assert main(words) == 1
    said = "".join(capfd.readouterr())
    assert "broken.png" in said
    assert "secret" not in said

"""`ccsr serve` before it serves."""

import socket
import sys
from pathlib import Path

import pytest

from ccsr.cli.main import main

pytest.importorskip("fastapi", reason='the extra "serve" is not installed')


def test_open_to_others_only_with_a_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CCSR_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"):  # noqa: S104
        assert main(["serve", "--host", host]) == 2
        assert capsys.readouterr().err == (
            f"error: --host {host} is open to other machines, which needs a token"
            " (give --token or --token-file, or set CCSR_TOKEN or CCSR_TOKEN_FILE)\n"
        )
    assert main(["serve", "--token", "two words"]) == 2
    assert "the token is empty, has spaces or is not ASCII" in capsys.readouterr().err


def test_an_address_that_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: cannot listen at 127.0.0.1:{port}: Address already in use (")


def test_bad_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "99999"]) == 2
    assert capsys.readouterr().err == "error: --port is 99999 (choose 0 to 65535)\n"
    assert main(["serve", "--quue", "3"]) == 2
    assert capsys.readouterr().err == "error: no option is called --quue (did you mean --queue?)\n"


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ccsr.serve.") and name != "ccsr.serve.settings"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == 'error: ccsr serve needs uvicorn (pip install "ccsr[serve]")\n'

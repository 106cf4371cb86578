"""Connections that are slow, silent or many, against a real server on loopback."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ccsr.serve.service import Service
from ccsr.serve.settings import ServeSettings

from .conftest import listening_at

EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture
def serving(tmp_path: Path, tiny: str) -> Iterator[Callable[..., int]]:
    """Start a server that is open to others, with a token; returns its port."""
    with ExitStack() as stack:

        def start(**settings: Any) -> int:
            known = {"model": tiny, "data": str(tmp_path / "data"), "threads": 1, "device": "cpu"}
            known |= {"host": EVERYWHERE, "token": "secret", **settings}
            address = stack.enter_context(listening_at(Service(ServeSettings.from_mapping(known))))
            return int(address.rpartition(":")[2])

        yield start


def half_sent(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    return connection


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_half_sent_headers_are_closed(serving: Callable[..., int]) -> None:
    port = serving(header_seconds=1)
    silent = [half_sent(port) for _ in range(20)]
    mute = socket.create_connection(("127.0.0.1", port))
    # One that trickles on, and one that began a second request.
    assert httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    again = socket.create_connection(("127.0.0.1", port))
    again.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert again.recv(10).startswith(b"HTTP/1.1 2")
    again.sendall(b"GET /healthz HT")
    begin = time.monotonic()
    for connection in silent:
        with suppress(OSError):
            connection.sendall(b"x")
    assert all(is_closed(connection) for connection in (*silent, mute))
    while again.recv(1000):
        pass
    assert time.monotonic() - begin < 60  # and not when the test's own patience ends


def test_who_opens_many_keeps_nobody_out(serving: Callable[..., int]) -> None:
    port = serving(header_seconds=600, max_connections=8)
    silent = [half_sent(port) for _ in range(40)]
    for _ in range(3):
        assert httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    # The oldest had to go.
    assert is_closed(silent[0])
    for connection in silent:
        connection.close()


def test_a_body_that_trickles_is_ended(serving: Callable[..., int]) -> None:
    port = serving(body_seconds=1)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="scale"\r\n\r\n'
        )
        answer = b""
        connection.settimeout(0.2)
        while b"}" not in answer:
            try:
                connection.sendall(b"2")
                answer += connection.recv(2000)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body took longer than 1 s" in answer
        assert b"connection: close" in answer.lower()
        connection.settimeout(None)
        assert is_closed(connection)


def test_a_trickling_body_that_is_refused_is_not_held_either(
    serving: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccsr.serve.middleware.DRAIN_SECONDS", 0.5)
    port = serving()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
        assert connection.recv(2000).startswith(b"HTTP/1.1 401 ")
        assert is_closed(connection) or is_closed(connection)


def test_a_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-secret\n", encoding="ascii")
    settings = ServeSettings.from_mapping({"host": EVERYWHERE, "token_file": str(tmp_path / "token")})
    assert settings.token == "a-secret"  # noqa: S105
    with pytest.raises(ValueError, match="the token cannot be read: No such file"):
        ServeSettings.from_mapping({"token_file": str(tmp_path / "none")})
    with pytest.raises(ValueError, match="--token and --token-file both"):
        ServeSettings.from_mapping({"token": "x", "token_file": str(tmp_path / "token")})

"""One process that serves until it is stopped."""

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from ccsr.errors import CCSRError
from ccsr.serve.app import create_app
from ccsr.serve.connections import protocol
from ccsr.serve.service import Service
from ccsr.serve.settings import ServeSettings


def serve(settings: ServeSettings, on_ready: Callable[[str], None], verbose: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the address as soon as it can be opened.

    Raises:
        CCSRError: the address is taken, the data folder is in use, or the model cannot be found.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listening:
        try:
            listening.bind((settings.host, settings.port))
        except OSError as error:
            raise CCSRError(
                f"cannot listen at {settings.host}:{settings.port}: {error.strerror or error}",
                hint="choose another --port or --host",
            ) from error
        app = create_app(Service(settings))
        # Who opens the address now waits for a response instead of being refused.
        listening.listen(128)
        host = f"[{settings.host}]" if family == socket.AF_INET6 else settings.host
        on_ready(f"http://{host}:{listening.getsockname()[1]}")
        uvicorn.Server(configured(app, settings, verbose)).run(sockets=[listening])


def configured(app: FastAPI, settings: ServeSettings, verbose: bool = False) -> uvicorn.Config:
    """How uvicorn runs an application of ours."""
    return uvicorn.Config(
        app, log_level="info" if verbose else "warning", access_log=verbose, server_header=False, ws="none",
        http=protocol(settings.header_seconds, settings.max_connections),
        # Answered 503 beyond it; connections that wait for something count.
        limit_concurrency=settings.max_connections + 1,
        # Open event streams must not keep a stopped server.
        timeout_graceful_shutdown=3,
    )  # fmt: skip

"""What every request passes before anything reads it: who may ask, from where, and how many bytes."""

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ccsr.serve.errors import Problem
from ccsr.serve.settings import ServeSettings

SILENCE_SECONDS = 60.0
"""Longest pause in a request's body."""

HEADERS = {
    # The page is made of its own files only; pictures are made in the browser (blob) or come from here.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class GuardMiddleware:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app = app
        self._token = settings.token.encode() if settings.token else None
        self._hosts = {"localhost", "127.0.0.1", "::1", settings.host} if settings.is_local else None
        self._limit = round(settings.max_megabytes * 1e6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a counted body and the page's headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        counted = self._counted(receive)
        if problem := self._refusal(scope, headers):
            await _drain(receive, 2 * self._limit)
            await problem.response()(scope, receive, send_with_headers)
            return
        await self.app(scope, counted, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        host = urlsplit(f"//{headers.get('host', '')}")
        # A page of another site may have made its own name point here.
        if self._hosts is not None and host.hostname not in self._hosts:
            return Problem(403, f"this server does not answer for {host.hostname} (call it localhost)")
        # Browsers let any site post a form to any address; they say from where.
        origin = headers.get("origin") if scope["method"] not in ("GET", "HEAD", "OPTIONS") else None
        if origin and urlsplit(origin).netloc != host.netloc:
            return Problem(403, "requests from other sites are not taken")
        if self._token is not None and scope["path"].startswith("/v1/"):
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                return Problem(
                    401, "the token is missing or wrong (send it as Authorization: Bearer ...)",
                    {"WWW-Authenticate": "Bearer"},
                )  # fmt: skip
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limit:
            return self._too_long()
        return None

    def _too_long(self) -> Problem:
        return Problem(
            413, f"the request is longer than {self._limit / 1e6:g} megabytes, the limit (send fewer or smaller files)"
        )

    def _counted(self, receive: Receive) -> Receive:
        received, complete = 0, False

        async def counted() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()  # waits for the client to go
            try:
                message = await asyncio.wait_for(receive(), SILENCE_SECONDS)
            except TimeoutError as error:
                raise Problem(408, f"nothing came for {SILENCE_SECONDS:g} s") from error
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._limit:
                raise self._too_long()
            return message

        return counted


async def _drain(receive: Receive, most: int) -> None:
    """Read and drop what is still being sent: a client that writes does not see a response."""
    dropped = 0
    try:
        while dropped < most:
            message = await asyncio.wait_for(receive(), 5)
            dropped += len(message.get("body", b""))
            if not message.get("more_body", False):
                return
    except TimeoutError:
        return

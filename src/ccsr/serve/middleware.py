"""What every request passes before anything reads it: who may ask, from where, and how many bytes."""

import asyncio
import hmac
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ccsr.serve.errors import Problem
from ccsr.serve.settings import ServeSettings

SILENCE_SECONDS = 60.0
"""Longest pause in a request's body."""
DRAIN_SECONDS = 10.0
"""How long the body of a request is read that is refused."""
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

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
        self._limit, self._seconds = round(settings.max_megabytes * 1e6), settings.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a counted body and the page's headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        body = _Body(receive, self._limit, self._seconds)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not body.is_complete and scope["method"] not in SAFE:
                    headers["Connection"] = "close"  # nobody reads the rest
            await send(message)

        if problem := self._refusal(scope, Headers(scope=scope)):
            await body.drain()
            await problem.response()(scope, body.receive, send_with_headers)
            return
        await self.app(scope, body.receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        try:
            host, sender = _address(f"//{headers.get('host', '')}"), _address(headers.get("origin", ""))
        except ValueError:
            return Problem(400, "the Host or the Origin of the request is not an address")
        # A page of another site may have made its own name point here.
        if self._hosts is not None and host.hostname not in self._hosts:
            return Problem(403, f"this server does not answer for {host.hostname} (call it localhost)")
        if _is_from_elsewhere(scope["method"], headers, host, sender):
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
            return _too_long(self._limit)
        return None


def _address(text: str) -> SplitResult:
    """Host and port of a header.

    Raises:
        ValueError: there is none, or it has more than that.
    """
    parts = urlsplit(text)
    if parts.port == 0 or parts.username is not None or any(c.isspace() or c in "\\<>^`{|}" for c in text):
        raise ValueError(text)
    return parts


def _is_from_elsewhere(method: str, headers: Headers, host: SplitResult, sender: SplitResult) -> bool:
    """Whether the page of another site has sent this: browsers let any site do so, and say it."""
    if method not in SAFE and headers.get("origin") and sender.netloc != host.netloc:
        return True
    # A link to the page from elsewhere is a visit; anything else from there is not.
    visit = (
        method in SAFE and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not visit


def _too_long(limit: int) -> Problem:
    return Problem(
        413, f"the request is longer than {limit / 1e6:g} megabytes, the limit (send fewer or smaller files)"
    )


class _Body:
    """A request's body as it comes, counted and timed."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self._limit, self._seconds = receive, limit, seconds
        self._received, self._begin = 0, asyncio.get_running_loop().time()
        self.is_complete = False

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            Problem: there was silence for too long, the whole takes too long, or it is too long.
        """
        if self.is_complete:
            return await self._receive()  # waits for the client to go
        left = self._begin + self._seconds - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), max(0, min(SILENCE_SECONDS, left)))
        except TimeoutError as error:
            late = f"the body took longer than {self._seconds:g} s" if left < SILENCE_SECONDS else None
            raise Problem(408, late or f"nothing came for {SILENCE_SECONDS:g} s") from error
        self._received += len(message.get("body", b""))
        self.is_complete = not message.get("more_body", False)
        if self._received > self._limit:
            raise _too_long(self._limit)
        return message

    async def drain(self) -> None:
        """Read and drop what is still being sent, for a while: a client that writes does not see a response."""
        deadline, dropped = asyncio.get_running_loop().time() + DRAIN_SECONDS, 0
        try:
            while not self.is_complete and dropped < 2 * self._limit:
                message = await asyncio.wait_for(self._receive(), max(0, deadline - asyncio.get_running_loop().time()))
                dropped += len(message.get("body", b""))
                self.is_complete = not message.get("more_body", False)
        except TimeoutError:
            return

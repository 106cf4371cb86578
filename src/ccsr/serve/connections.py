"""Connections that ask for nothing are closed: the part of a server that sees bytes before there is a request."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_FOR_FILES = 64
"""Descriptors that are kept for files and the like."""


def protocol(header_seconds: float, most: int) -> type[H11Protocol]:
    """A protocol for uvicorn that gives a request's header so many seconds and holds at most `most` connections.

    Where a further one comes, the one goes that has waited longest without a complete header: whoever opens many and
    says nothing keeps nobody out.
    """
    most = min(most, max(8, _descriptors() - _FOR_FILES))

    class Connection(H11Protocol):
        deadline: asyncio.TimerHandle | None = None
        """Set while a header is awaited."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_header()
            if len(self.connections) > most:
                silent = [c for c in self.connections if isinstance(c, Connection) and c.deadline]
                min(silent, key=lambda c: c.deadline.when()).give_up()  # type: ignore[union-attr]

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._await_header()
            else:
                self._header_came()

        def connection_lost(self, exc: Exception | None) -> None:
            self._header_came()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE:
                self._await_header()

        def give_up(self) -> None:
            """Close at once: there is nobody to answer."""
            self._header_came()
            self.transport.abort()

        def _await_header(self) -> None:
            if self.deadline is None:
                self.deadline = self.loop.call_later(header_seconds, self.give_up)

        def _header_came(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return Connection


def _descriptors() -> int:
    """How many this process may have."""
    try:
        import resource
    except ImportError:  # Windows
        return 2**31
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**31 if limit == resource.RLIM_INFINITY else limit

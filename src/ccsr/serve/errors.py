"""Which HTTP status an error has, and its form on the wire: `application/problem+json` (RFC 9457)."""

import errno
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from ccsr.errors import CCSRError, DiskFullError, ImageError, MemoryPlanError, OptionError, TooLargeError, WeightsError

STATUS: tuple[tuple[type[CCSRError], int], ...] = (
    (DiskFullError, 507),
    (TooLargeError, 413),
    (MemoryPlanError, 413),
    (ImageError, 415),
    (OptionError, 422),
    (WeightsError, 503),
    (CCSRError, 500),
)
"""The first that fits."""


def status_of(error: CCSRError) -> int:
    """The HTTP status for this error."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def with_client_name(error: CCSRError, names: Mapping[str, str]) -> CCSRError:
    """The same error, with the client's name for the file: where it lies here is nobody's business."""
    path = names.get(str(error.path), None if error.path is None else Path(str(error.path)).name)
    return type(error)(error.what, path=path, hint=error.hint)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the system says that there is no room left, or no more of it for us."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Problem(Exception):  # noqa: N818 -- the RFC's word
    """A response that is no success: `detail` is one line that says what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers
        self.background: BackgroundTask | None = None
        """What is to be done once it is sent."""

    @classmethod
    def of(cls, error: CCSRError) -> "Problem":
        """The response for an error of ours."""
        return cls(status_of(error), str(error))

    @classmethod
    def disk_full(cls) -> "Problem":
        """The response where an upload or a result does not fit the disk."""
        return cls(507, "the server's disk is full (remove jobs that are done, or ask whoever runs it)")

    def response(self, background: BackgroundTask | None = None) -> JSONResponse:
        """As it is sent; `background` is done afterwards."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return JSONResponse(body, self.status, self.headers, "application/problem+json", background)

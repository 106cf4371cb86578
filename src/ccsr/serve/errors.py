"""Which HTTP status an error has, and its form on the wire: `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from ccsr.errors import CCSRError, ImageError, MemoryPlanError, OptionError, TooLargeError, WeightsError

STATUS: tuple[tuple[type[CCSRError], int], ...] = (
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


class Problem(Exception):  # noqa: N818 -- the RFC's word
    """A response that is no success: `detail` is one line that says what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers

    @classmethod
    def of(cls, error: CCSRError) -> "Problem":
        """The response for an error of ours."""
        return cls(status_of(error), str(error))

    def response(self) -> JSONResponse:
        """As it is sent."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return JSONResponse(body, self.status, self.headers, "application/problem+json")

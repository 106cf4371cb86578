"""The application: `/v1/...` for programs, `/` for people, both over the same jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from ccsr.errors import CCSRError
from ccsr.serve import api, pages
from ccsr.serve.errors import Problem, is_disk_full
from ccsr.serve.middleware import GuardMiddleware
from ccsr.serve.openapi import document
from ccsr.serve.service import Service
from ccsr.version import __version__


def create_app(service: Service) -> FastAPI:
    """The application around a service, which it starts and closes."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="ccsr", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Faithful enlarging and restoring of photographs. `file` is a picture, every other form field one"
        " of the options of `GET /v1/options`. Errors are `application/problem+json`.",
        license_info={"name": "Apache-2.0"},
        separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.service = service
    app.state.converting = asyncio.Semaphore(2)  # conversions at a time
    app.add_middleware(GuardMiddleware, settings=service.settings)
    _add_error_handlers(app)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/page", pages.static, name="page")
    app.openapi = partial(document, app, service)  # type: ignore[method-assign]
    return app


def _add_error_handlers(app: FastAPI) -> None:
    """Every way to fail ends as problem+json."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response(error.background)

    @app.exception_handler(CCSRError)
    async def ours(_: Request, error: CCSRError) -> Response:
        return Problem.of(error).response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        if error.status_code == 405:
            allowed = {"Allow": ", ".join(_methods(app, request))}
            return Response(status_code=204, headers=allowed) if request.method == "OPTIONS" else Problem(
                405, f"{request.method} is not for this address", allowed
            ).response()  # fmt: skip
        return Problem(error.status_code, str(error.detail), headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return Problem(422, f"{where}: {first['msg']}").response()

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        if is_disk_full(error):
            return Problem.disk_full().response()
        return Problem(500, f"unexpected {type(error).__name__} (the server's log has more)").response()


def _methods(app: FastAPI, request: Request) -> list[str]:
    """The methods that some route has for the address of a request."""
    found = {"OPTIONS"}
    for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"):
        scope = {**request.scope, "method": method}
        found |= {method for route in app.routes if route.matches(scope)[0] == Match.FULL}
    return sorted(found)

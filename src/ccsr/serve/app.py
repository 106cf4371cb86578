"""The addresses: `/v1/...` for programs, `/` for people, both over the same jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from ccsr.errors import CCSRError
from ccsr.serve import downloads
from ccsr.serve.errors import Problem
from ccsr.serve.events import events_of
from ccsr.serve.middleware import GuardMiddleware
from ccsr.serve.openapi import (
    BINARY,
    JOB_RESPONSE,
    ONE_PNG,
    PICTURE,
    PICTURES,
    Format,
    Index,
    JobId,
    problems,
)
from ccsr.serve.responses import (
    AcceptedResponse,
    CancelledResponse,
    HealthResponse,
    JobResponse,
    ModelResponse,
    ProblemResponse,
)
from ccsr.serve.schema import form_schema, options_schema
from ccsr.serve.service import FINAL, Service
from ccsr.serve.store import StoredJob
from ccsr.serve.uploads import receive
from ccsr.version import __version__

PAGE = Path(str(files("ccsr.serve"))) / "page"


def create_app(service: Service) -> FastAPI:
    """The application around a service, which it starts and closes."""
    settings = service.settings
    schema = options_schema(settings, list(service.models), service.default_model)

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
    app.add_middleware(GuardMiddleware, settings=settings)
    _add_errors(app)
    converting = asyncio.Semaphore(2)

    # -- work ---------------------------------------------------------------------------------------------------------

    def body(several: bool) -> dict[str, Any]:
        content = {
            "schema": form_schema(schema, several=several),
            # Without these a program sends booleans and numbers as JSON text, which is what we read.
            "encoding": {"file": {"contentType": "image/png, image/jpeg, image/webp, image/tiff, image/*"}},
            "examples": {
                "default": {"summary": "four times, as the input's format", "value": {"file": "@photo.jpg"}},
                "large": {"summary": "twice, as WebP", "value": {"file": "@photo.jpg", "scale": 2, "format": "webp"}},
            },
        }
        if several:
            for example in content["examples"].values():
                example["value"]["file"] = ["@photo.jpg", "@other.png"]
        return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}

    @app.post(
        "/v1/upscale", tags=["work"], summary="One picture in, its enlargement out",
        response_class=Response, responses={**PICTURE, **problems(408, 413, 415, 422, 429, 500, 503, 504)},
        openapi_extra=body(several=False),
    )  # fmt: skip
    async def upscale(request: Request) -> Response:
        """Waits for the result. For large or many pictures, several samples and progress use `POST /v1/jobs`."""
        came = await receive(request, service, several=False)
        if came.fields.get("samples", "1") != "1":
            await run_in_threadpool(service.store.remove, came.id)
            raise Problem(422, "--samples above 1 gives several pictures (post it to /v1/jobs)")
        await run_in_threadpool(service.submit, came.id, came.uploads, came.fields, transient=True)
        job = None
        try:
            job = await _ended(came.id, request)
        finally:
            if job is None or job.state != "done":
                await run_in_threadpool(service.forget, came.id)
        if job.state != "done":
            raise Problem(job.status or 500, job.error or job.state)
        result = job.results[0]
        path = service.store.folder_of(job.id) / str(result.stored)
        done = BackgroundTask(service.forget, job.id)
        return FileResponse(path, media_type=downloads.media_type(path), filename=result.name, background=done)

    async def _ended(id: str, request: Request) -> StoredJob:
        deadline = asyncio.get_running_loop().time() + settings.wait_seconds
        with service.listening(id) as news:
            while True:
                news.clear()
                job = service.get(id)
                if job is None or job.state in FINAL:
                    break
                if asyncio.get_running_loop().time() > deadline:
                    raise Problem(504, f"not done after {settings.wait_seconds:g} s (post it to /v1/jobs)")
                if await request.is_disconnected():
                    raise Problem(408, "the client went away")
                try:
                    await asyncio.wait_for(news.wait(), 1)
                except TimeoutError:
                    continue
        if job is None:
            raise Problem(404, "the job was removed")
        return job

    @app.post(
        "/v1/jobs", status_code=202, tags=["work"], summary="Put pictures in line", response_model=AcceptedResponse,
        responses=problems(408, 413, 415, 422, 429, 500, 503), openapi_extra=body(several=True),
    )  # fmt: skip
    async def add_job(request: Request) -> JSONResponse:
        """Repeat the field `file` for several pictures. One that cannot be read fails by itself."""
        came = await receive(request, service, several=True)
        await run_in_threadpool(service.submit, came.id, came.uploads, came.fields, transient=False)
        told = service.view(came.id) or {"id": came.id, "state": "queued", "links": {}}
        answer = {key: told[key] for key in ("id", "state", "links")}
        return JSONResponse(answer, 202, {"Location": f"/v1/jobs/{came.id}"})

    @app.get(
        "/v1/jobs/{id}", tags=["work"], summary="How a job is", response_model=JobResponse,
        responses={200: JOB_RESPONSE, **problems(404, 422)},
    )  # fmt: skip
    def job_state(id: JobId) -> JSONResponse:
        """State, progress, time left, and one entry per result so far."""
        return JSONResponse(_viewed(id))

    @app.get(
        "/v1/jobs/{id}/events", tags=["work"], summary="A job's progress as server-sent events",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "`progress` (state, progress, seconds_left, position), `file` (one result) and, last,"
                " `end` (the job)",
                "content": {
                    "text/event-stream": {
                        "schema": {"type": "string"},
                        "example": 'event: progress\ndata: {"state": "running", "progress": 0.42}\n\n',
                    }
                },
            },
            **problems(404, 422),
        },
    )  # fmt: skip
    async def job_events(id: JobId) -> StreamingResponse:
        """Starts with what is known already, so that a lost connection is taken up by asking again."""
        _viewed(id)
        return StreamingResponse(
            events_of(service, id), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @app.get(
        "/v1/jobs/{id}/result", tags=["work"], summary="A result, or all of them as a zip",
        response_class=Response,
        responses={
            200: {
                "description": "the picture, or the zip",
                "content": {**PICTURES, "application/zip": BINARY},
            },
            **problems(404, 409, 413, 415, 422, 500),
        },
    )  # fmt: skip
    async def job_result(
        id: JobId,
        index: Annotated[int | None, Query(ge=0, le=2**31, description="number of the result; without it, all")] = None,
        format: Annotated[Format | None, Query(description="convert what is stored to this format")] = None,
    ) -> Response:
        """A job of one result is answered with it, a job of several with a zip unless `index` picks one."""
        job, folder = _stored(id)
        ready = [r for r in job.results if r.stored]
        if index is not None:
            ready = [r for r in ready if r.number == index]
        if not ready:
            known = index is None or any(r.number == index for r in job.results) or job.state not in FINAL
            raise Problem(
                409 if known else 404,
                f"job {job.state}: {'this result is' if index is not None else 'results are'} not there",
            )
        quality = int(service.options_from(job.options).quality)
        paths = [await convert(folder / str(r.stored), format, folder, quality) for r in ready]
        if len(ready) == 1 and (index is not None or job.state in FINAL):
            name = str(ready[0].name).rpartition(".")[0] + paths[0].suffix
            return FileResponse(paths[0], media_type=downloads.media_type(paths[0]), filename=name)
        made = await run_in_threadpool(downloads.archive, folder, list(zip(ready, paths, strict=True)))
        remove = BackgroundTask(made.unlink, missing_ok=True)
        return FileResponse(made, media_type="application/zip", filename="ccsr-results.zip", background=remove)

    async def convert(path: Path, format: str | None, folder: Path, quality: int = 95) -> Path:
        if format is None:
            return path
        async with converting:
            return await run_in_threadpool(downloads.converted, path, format, folder, quality)

    @app.get(
        "/v1/jobs/{id}/input", tags=["work"], summary="A picture that came in, upright, as PNG",
        response_class=Response, responses={**ONE_PNG, **problems(404, 413, 415, 422)},
    )  # fmt: skip
    async def job_input(id: JobId, index: Index = 0) -> Response:
        """For pages: whatever the format, browsers can show this."""
        job, folder = _stored(id)
        found = next((i for i in job.inputs if i.number == index), None)
        if found is None:
            raise Problem(404, f"this job has {len(job.inputs)} inputs")
        return FileResponse(await convert(folder / found.stored, "png", folder), media_type="image/png")

    @app.get(
        "/v1/jobs/{id}/stability", tags=["work"], summary="Where the samples of a picture differ, as RGBA PNG",
        response_class=Response, responses={**ONE_PNG, **problems(404, 422)},
    )  # fmt: skip
    async def job_stability(id: JobId, index: Index = 0) -> Response:
        """Colours from 0 to `scale` (see the job's `inputs`), transparent where all samples agree."""
        job, folder = _stored(id)
        found = next((i for i in job.inputs if i.number == index), None)
        if found is None or found.spread is None:
            raise Problem(404, "there is no stability map (it needs --samples of 2 or more, and the job's end)")
        path = await run_in_threadpool(downloads.stability_png, folder, found.number, found.spread["scale"])
        return FileResponse(path, media_type="image/png")

    @app.delete(
        "/v1/jobs/{id}", tags=["work"], summary="Cancel a job, or remove one that ended", status_code=202,
        response_model=CancelledResponse,
        responses={204: {"description": "it had ended and is removed"}, **problems(404, 422)},
    )  # fmt: skip
    async def stop_job(id: JobId) -> Response:
        """Results that a cancelled job has made already stay until it is removed or expires."""
        try:
            state = await run_in_threadpool(service.cancel, id)
        except KeyError as error:
            raise Problem(404, f"there is no job {id[:40]}") from error
        return Response(status_code=204) if state is None else JSONResponse({"id": id, "state": state}, 202)

    def _viewed(id: str) -> dict[str, Any]:
        told = service.view(id)
        if told is None:
            raise Problem(404, f"there is no job {id[:40]} (it may have expired)")
        return told

    def _stored(id: str) -> tuple[StoredJob, Path]:
        job = service.get(id)
        if job is None:
            raise Problem(404, f"there is no job {id[:40]} (it may have expired)")
        return job, service.store.folder_of(job.id)

    # -- facts --------------------------------------------------------------------------------------------------------

    @app.get("/v1/options", tags=["facts"], summary="The options as JSON schema", responses=problems())
    def options() -> dict[str, Any]:
        """Every option that a form may carry, with its default, its range and words for people."""
        return schema

    @app.get("/v1/models", tags=["facts"], summary="Models in hand", response_model=list[ModelResponse],
             responses=problems())  # fmt: skip
    def models() -> list[dict[str, Any]]:
        """The names that `model` may have."""
        return [
            {
                "name": m.name,
                "default": m.name == service.default_model,
                "parameters": sum(m.parameters.values()),
                "licence": m.licence,
                "sha256": m.sha256,
                "prompts": m.layout.text is not None,
            }
            for m in service.models.values()
        ]

    @app.get("/healthz", tags=["facts"], summary="How the server is", response_model=HealthResponse,
             responses={403: problems()[403], 503: {"description": "one died", "model": HealthResponse}})  # fmt: skip
    def health() -> JSONResponse:
        """200 while all workers live. Needs no token."""
        known = service.health()
        limits = {
            name: getattr(settings, name)
            for name in ("max_megabytes", "max_megapixels", "max_output_megapixels", "max_files", "max_results")
        }
        facts = {
            "version": __version__,
            "limits": limits,
            "needs_token": settings.token is not None,
            "local": settings.is_local,
        }
        return JSONResponse({**known, **facts}, 200 if known["status"] == "ok" else 503)

    # -- page ---------------------------------------------------------------------------------------------------------

    for address, name in (("/", "index.html"), ("/docs", "docs.html")):
        app.add_api_route(address, _page(name), include_in_schema=False, methods=["GET", "HEAD"])
    app.mount("/page", StaticFiles(directory=PAGE), name="page")

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes,
                license_info=app.license_info,
            )  # fmt: skip
            made["components"]["schemas"]["ProblemResponse"] = ProblemResponse.model_json_schema()
            # Every error is of our own form.
            for unused in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(unused, None)
            if settings.token is not None:
                made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                made["security"] = [{"token": []}]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _page(name: str) -> Any:
    def page() -> FileResponse:
        return FileResponse(PAGE / name, headers={"Cache-Control": "no-cache"})

    return page


def _add_errors(app: FastAPI) -> None:
    """Every way to fail ends as problem+json."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(CCSRError)
    async def ours(_: Request, error: CCSRError) -> Response:
        return Problem.of(error).response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return Problem(error.status_code, str(error.detail), headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return Problem(422, f"{where}: {first['msg']}").response()

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return Problem(500, f"unexpected {type(error).__name__} (the server's log has more)").response()

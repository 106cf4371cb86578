"""The routes for programs: `/v1/...` and `/healthz`.

Whatever reads the store or a picture runs in the thread pool (FastAPI calls every route there that is no coroutine),
so that a slow disk never keeps the event loop.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from ccsr.images.formats import READABLE
from ccsr.serve import downloads
from ccsr.serve.errors import Problem
from ccsr.serve.events import events_of
from ccsr.serve.openapi import EVENTS, JOB, ONE_PNG, PICTURE, RESULT, ZIP, Format, Index, JobId, problems
from ccsr.serve.queue import ActiveJob
from ccsr.serve.responses import (
    AcceptedResponse,
    CancelledResponse,
    HealthResponse,
    JobResponse,
    ModelResponse,
    PlanRequest,
    PlanResponse,
)
from ccsr.serve.schema import options_schema
from ccsr.serve.service import Service
from ccsr.serve.store import FINAL, Result, StoredJob
from ccsr.serve.uploads import receive
from ccsr.serve.views import links_of, photo_plan
from ccsr.version import __version__

router = APIRouter()


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(_service)]


def _viewed(id: str, service: Service) -> JobResponse:
    job = service.view(id)
    if job is None:
        raise Problem(404, f"there is no job {id[:40]} (it may have expired)")
    return job


def _stored(id: str, service: Service) -> StoredJob:
    job = service.get(id)
    if job is None:
        raise Problem(404, f"there is no job {id[:40]} (it may have expired)")
    return job


# -- work -------------------------------------------------------------------------------------------------------------


@router.post(
    "/v1/upscale", tags=["work"], summary="One picture in, its enlargement out",
    response_class=Response, responses={**PICTURE, **problems(408, 413, 415, 422, 429, 500, 503, 504, 507)},
)  # fmt: skip
async def upscale(request: Request, service: ServiceDep) -> Response:
    """Waits for the result. For large or many pictures, several samples and progress use `POST /v1/jobs`."""
    received = await receive(request, service, several=False)
    if received.fields.get("samples", "1") != "1":
        await run_in_threadpool(service.store.remove, received.id)
        raise Problem(422, "--samples above 1 gives several pictures (post it to /v1/jobs)")
    active = await run_in_threadpool(service.submit, received.id, received.inputs, received.fields, transient=True)
    forget = BackgroundTask(service.forget, active.job.id)
    try:
        await _end_of(active, request, service)
        job = active.snapshot()
        if job.state != "done":
            raise Problem(job.status or 500, job.error or job.state)
    except Problem as problem:
        service.queue.cancel(active.job.id)
        problem.background = forget  # it may take a moment to stop, for which nobody waits
        raise
    except BaseException:
        await run_in_threadpool(service.forget, active.job.id)
        raise
    result = job.results[0]
    path = service.store.folder_of(job.id) / str(result.stored)
    return FileResponse(path, media_type=downloads.media_type(path), filename=result.name, background=forget)


async def _end_of(active: ActiveJob, request: Request, service: Service) -> None:
    seconds = service.settings.wait_seconds
    deadline = asyncio.get_running_loop().time() + seconds
    with service.queue.listening(active.job.id) as changed:
        while active.state not in FINAL:
            if asyncio.get_running_loop().time() > deadline:
                raise Problem(504, f"not done after {seconds:g} s (post it to /v1/jobs)")
            if await request.is_disconnected():
                raise Problem(408, "the client went away")
            try:
                await asyncio.wait_for(changed.wait(), 1)
            except TimeoutError:
                continue
            changed.clear()


@router.post(
    "/v1/jobs", status_code=202, tags=["work"], summary="Put pictures in line", response_model=AcceptedResponse,
    responses=problems(408, 413, 415, 422, 429, 500, 503, 507),
)  # fmt: skip
async def add_job(request: Request, response: Response, service: ServiceDep) -> AcceptedResponse:
    """Repeat the field `file` for several pictures. One that cannot be read fails by itself."""
    received = await receive(request, service, several=True)
    active = await run_in_threadpool(service.submit, received.id, received.inputs, received.fields, transient=False)
    links = links_of(received.id)
    response.headers["Location"] = links["self"]
    return AcceptedResponse(id=received.id, state=active.state, links=links)


@router.get(
    "/v1/jobs/{id}", tags=["work"], summary="How a job is", response_model=JobResponse,
    responses={**JOB, **problems(404, 422)},
)  # fmt: skip
def job_state(id: JobId, service: ServiceDep) -> JobResponse:
    """State, progress, time left, and one entry per result so far."""
    return _viewed(id, service)


@router.get(
    "/v1/jobs/{id}/events", tags=["work"], summary="A job's progress as server-sent events",
    response_class=StreamingResponse, responses={**EVENTS, **problems(404, 422)},
)  # fmt: skip
async def job_events(id: JobId, service: ServiceDep) -> StreamingResponse:
    """Starts with what is known already, so that a lost connection is taken up by asking again."""
    await run_in_threadpool(_viewed, id, service)
    return StreamingResponse(
        events_of(service, id), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


@router.get(
    "/v1/jobs/{id}/result", tags=["work"], summary="A result, or all of them as a zip",
    response_class=Response, responses={**RESULT, **problems(404, 409, 413, 415, 422, 500, 507)},
)  # fmt: skip
async def job_result(
    request: Request,
    id: JobId,
    service: ServiceDep,
    index: Annotated[int | None, Query(ge=0, le=2**31, description="number of the result; without it, all")] = None,
    format: Annotated[
        Format | None,
        Query(description="convert what is stored to this format, without the metadata that it has no place for"),
    ] = None,
) -> Response:
    """A job of one result is answered with it, a job of several with a zip unless `index` picks one."""
    job = await run_in_threadpool(_stored, id, service)
    folder = service.store.folder_of(job.id)
    ready = [r for r in job.results if r.stored]
    if index is not None:
        ready = [r for r in ready if r.number == index]
    if not ready:
        known = index is None or any(r.number == index for r in job.results) or job.state not in FINAL
        raise Problem(
            409 if known else 404,
            f"job {job.state}: {'this result is' if index is not None else 'results are'} not there",
        )
    quality = int(service.models.options_from(job.options).quality)
    paths = [await _converted(request, folder / str(r.stored), format, folder, quality) for r in ready]
    if len(ready) == 1 and (index is not None or job.state in FINAL):
        name = str(ready[0].name).rpartition(".")[0] + paths[0].suffix
        return FileResponse(paths[0], media_type=downloads.media_type(paths[0]), filename=name)
    return await _zipped(folder, list(zip(ready, paths, strict=True)))


async def _zipped(folder: Path, results: list[tuple[Result, Path]]) -> FileResponse:
    archive = await run_in_threadpool(downloads.archive, folder, results)
    remove = BackgroundTask(archive.unlink, missing_ok=True)
    return FileResponse(archive, media_type="application/zip", filename="ccsr-results.zip", background=remove)


@router.get(
    "/v1/results", tags=["work"], summary="All results of several jobs as one zip",
    response_class=Response, responses={**ZIP, **problems(404, 409, 413, 415, 422, 500, 507)},
)  # fmt: skip
async def all_results(
    request: Request,
    service: ServiceDep,
    id: Annotated[list[str], Query(min_length=1, max_length=1000, description="of the jobs; repeat it")],
    format: Annotated[Format | None, Query(description="convert what is stored to this format")] = None,
) -> Response:
    """What there is of these jobs, in their order; names that are the same are numbered."""
    jobs = [await run_in_threadpool(_stored, one, service) for one in dict.fromkeys(id)]
    found = []
    for job in jobs:
        folder, quality = service.store.folder_of(job.id), int(service.models.options_from(job.options).quality)
        for result in job.results:
            if result.stored:
                found.append((result, await _converted(request, folder / result.stored, format, folder, quality)))
    if not found:
        raise Problem(409, "these jobs have no results")
    return await _zipped(service.store.folder_of(jobs[0].id), found)


async def _converted(request: Request, path: Path, format: str | None, folder: Path, quality: int = 95) -> Path:
    if format is None:
        return path
    async with request.app.state.converting:
        return await run_in_threadpool(downloads.converted, path, format, folder, quality)


@router.get(
    "/v1/jobs/{id}/input", tags=["work"], summary="A picture that came in, upright, as PNG",
    response_class=Response, responses={**ONE_PNG, **problems(404, 413, 415, 422, 507)},
)  # fmt: skip
async def job_input(request: Request, id: JobId, service: ServiceDep, index: Index = 0) -> Response:
    """For pages: whatever the format, browsers can show this."""
    job = await run_in_threadpool(_stored, id, service)
    folder = service.store.folder_of(job.id)
    found = next((i for i in job.inputs if i.number == index), None)
    if found is None:
        raise Problem(404, f"this job has {len(job.inputs)} inputs")
    return FileResponse(await _converted(request, folder / found.stored, "png", folder), media_type="image/png")


@router.get(
    "/v1/jobs/{id}/stability", tags=["work"], summary="Where the samples of a picture differ, as RGBA PNG",
    response_class=Response, responses={**ONE_PNG, **problems(404, 422)},
)  # fmt: skip
def job_stability(id: JobId, service: ServiceDep, index: Index = 0) -> Response:
    """Colours from 0 to `scale` (see the job's `inputs`), transparent where all samples agree."""
    job = _stored(id, service)
    found = next((i for i in job.inputs if i.number == index), None)
    if found is None or found.spread is None:
        raise Problem(404, "there is no stability map (it needs --samples of 2 or more, and the job's end)")
    path = downloads.stability_png(service.store.folder_of(job.id), found.number, found.spread["scale"])
    return FileResponse(path, media_type="image/png")


@router.get(
    "/v1/jobs/{id}/difference", tags=["work"], summary="Where a result departs from its input, as RGBA PNG",
    response_class=Response, responses={**ONE_PNG, **problems(404, 413, 415, 422, 507)},
)  # fmt: skip
async def job_difference(request: Request, id: JobId, service: ServiceDep, index: Index = 0) -> Response:
    """Colours from 0 to `scale` (see `consistency` of a result): reduced to the input's size, it is another picture
    there. Transparent where it is the same."""
    job = await run_in_threadpool(_stored, id, service)
    folder = service.store.folder_of(job.id)
    found = next((r for r in job.results if r.number == index and r.stored), None)
    if found is None:
        raise Problem(404, "there is no such result")
    source = next(i for i in job.inputs if i.number == found.input)
    async with request.app.state.converting:
        path = await run_in_threadpool(
            downloads.difference_png, folder, found.number, folder / str(found.stored), folder / source.stored
        )
    return FileResponse(path, media_type="image/png")


@router.delete(
    "/v1/jobs/{id}", tags=["work"], summary="Cancel a job, or remove one that ended", status_code=202,
    response_model=CancelledResponse,
    responses={204: {"description": "it had ended and is removed"}, **problems(404, 422)},
)  # fmt: skip
def stop_job(id: JobId, service: ServiceDep) -> Any:
    """Results that a cancelled job has made already stay until it is removed or expires."""
    try:
        state = service.cancel(id)
    except KeyError as error:
        raise Problem(404, f"there is no job {id[:40]}") from error
    return Response(status_code=204) if state is None else CancelledResponse(id=id, state=state)


# -- facts ------------------------------------------------------------------------------------------------------------


@router.get("/v1/options", tags=["facts"], summary="The options as JSON schema", responses=problems())
def options(service: ServiceDep) -> dict[str, Any]:
    """Every option that a form may carry, with its default, its range and words for people."""
    return options_schema(service.settings, list(service.models.by_name), service.models.default)


@router.post("/v1/plan", tags=["facts"], summary="What photos would become, before they are sent",
             response_model=PlanResponse, responses=problems(413, 422))  # fmt: skip
def plan(asked: PlanRequest, service: ServiceDep) -> PlanResponse:
    """For each photo: at each scale asked for, and at the largest that fits, the result's size, the estimated time, or
    why it cannot be. The request itself would be told the same."""
    told = service.advise([(photo.width, photo.height, photo.scales) for photo in asked.photos], asked.options)
    return PlanResponse(photos=[photo_plan(*one, service.settings) for one in told])


@router.get("/v1/models", tags=["facts"], summary="Models in hand", response_model=list[ModelResponse],
            responses=problems())  # fmt: skip
def models(service: ServiceDep) -> list[ModelResponse]:
    """The names that `model` may have."""
    return [
        ModelResponse(
            name=model.name,
            default=model.name == service.models.default,
            parameters=sum(model.parameters.values()),
            licence=model.licence,
            sha256=model.sha256,
            prompts=model.layout.text is not None,
            useful_steps=model.useful_steps,
        )
        for model in service.models.by_name.values()
    ]


@router.get("/healthz", tags=["facts"], summary="How the server is", response_model=HealthResponse,
            responses={403: problems()[403], 503: {"description": "one died", "model": HealthResponse}})  # fmt: skip
def health(service: ServiceDep) -> JSONResponse:
    """200 while all workers live. Needs no token."""
    settings = service.settings
    state = service.health()
    limits = {
        name: getattr(settings, name)
        for name in (
            "max_megabytes",
            "max_megapixels",
            "max_output_megapixels",
            "max_files",
            "max_results",
            "job_seconds",
            "keep_hours",
        )
    }
    facts = {
        "version": __version__,
        "limits": limits,
        "needs_token": settings.token is not None,
        "local": settings.is_local,
        "reads": READABLE,
    }
    return JSONResponse({**state, **facts}, 200 if state["status"] == "ok" else 503)

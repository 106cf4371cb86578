"""The OpenAPI document, and what it says beside the types: parameters, errors, forms and examples."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi import Path as PathParameter
from fastapi.openapi.utils import get_openapi

from ccsr.serve.downloads import MEDIA_TYPES
from ccsr.serve.responses import ProblemResponse
from ccsr.serve.schema import form_schema, options_schema
from ccsr.serve.service import Service
from ccsr.serve.store import Input, StoredJob
from ccsr.serve.views import job_view

Responses = dict[int | str, dict[str, Any]]
Format = Literal["png", "jpeg", "webp", "tiff", "avif"]
JobId = Annotated[
    str, PathParameter(alias="id", description="from POST /v1/jobs", examples=["3f0c5d7a9b1e2d4c6f8a0b1c"])
]
Index = Annotated[int, Query(ge=0, le=2**31, description="number of the result or input, from 0")]

_PROBLEMS = {
    400: "the Host or the Origin is not an address",
    401: "the token is missing or wrong",
    403: "the request came under another name or from another site",
    404: "there is no such job or result",
    408: "the body stopped coming",
    409: "the job has no such result yet",
    413: "over a limit, which the detail names",
    415: "not a picture that can be read",
    422: "an option or the form makes no sense",
    429: "the queue is full; Retry-After says when to come back",
    500: "a fault of the server",
    503: "the model cannot be used",
    504: "not done in time",
    507: "the server's disk is full",
}
_EXAMPLES = {
    413: "photo.png: 9000x9000 is 81.0 megapixels, the limit is 32.0 (cut or shrink it first)",
    415: "notes.txt: not a picture in a known format (PNG, JPEG, WebP, TIFF, AVIF, GIF, BMP, TGA and PNM can be read)",
    422: "--scale is '9' (choose 1 to 8)",
    429: "64 jobs wait already, the limit is 64 (come back in 12 s)",
}


def problems(*statuses: int) -> Responses:
    """The error responses of an operation; those of the middleware are everywhere."""

    def response(status: int) -> dict[str, Any]:
        example = {
            "type": "about:blank", "title": _PROBLEMS[status].capitalize(), "status": status,
            "detail": _EXAMPLES.get(status, _PROBLEMS[status]),
        }  # fmt: skip
        schema = {"$ref": "#/components/schemas/ProblemResponse"}
        return {
            "description": _PROBLEMS[status],
            "content": {"application/problem+json": {"schema": schema, "example": example}},
        }

    return {status: response(status) for status in sorted({400, 401, 403, *statuses})}


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PICTURES = dict.fromkeys(MEDIA_TYPES.values(), _BINARY)
_EXAMPLE_JOB = job_view(
    StoredJob(
        "3f0c5d7a9b1e2d4c6f8a0b1c", "running", transient=False, created=1790000000.0,
        options={"scale": "2"}, flops=0, inputs=(Input(0, "photo.jpg", "input/000.jpg"),),
    ),
    keep_seconds=0, progress=0.42, seconds_left=3.1,
)  # fmt: skip

PICTURE: Responses = {200: {"description": "the picture", "content": _PICTURES}}
ONE_PNG: Responses = {200: {"description": "PNG", "content": {"image/png": _BINARY}}}
RESULT: Responses = {
    200: {"description": "the picture, or the zip", "content": {**_PICTURES, "application/zip": _BINARY}}
}
ZIP: Responses = {200: {"description": "the zip", "content": {"application/zip": _BINARY}}}
JOB: Responses = {200: {"content": {"application/json": {"example": _EXAMPLE_JOB.model_dump()}}}}
EVENTS: Responses = {
    200: {
        "description": "`progress` (state, progress, seconds_left, position), `file` (one result) and, last,"
        " `end` (the job)",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: progress\ndata: {"state": "running", "progress": 0.42}\n\n',
            }
        },
    }
}


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """The OpenAPI document of a server, whose forms have the options and limits of that server."""
    if app.openapi_schema is None:
        built = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            license_info=app.license_info,
        )  # fmt: skip
        built["components"]["schemas"]["ProblemResponse"] = ProblemResponse.model_json_schema()
        # Every error is of our own form.
        for unused in ("HTTPValidationError", "ValidationError"):
            built["components"]["schemas"].pop(unused, None)
        schema = options_schema(service.settings, list(service.models.by_name), service.models.default)
        for path, several in (("/v1/upscale", False), ("/v1/jobs", True)):
            built["paths"][path]["post"]["requestBody"] = _form(schema, several)
        if service.settings.token is not None:
            built["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            built["security"] = [{"token": []}]
        app.openapi_schema = built
    return app.openapi_schema


def _form(options: dict[str, Any], several: bool) -> dict[str, Any]:
    """The multipart body of a request with one picture or several."""
    content = {
        "schema": form_schema(options, several=several),
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
    return {"required": True, "content": {"multipart/form-data": content}}

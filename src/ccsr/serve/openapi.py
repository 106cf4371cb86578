"""What the OpenAPI document says beside the types: parameters, errors and examples."""

from typing import Annotated, Any, Literal

from fastapi import Path as PathParameter
from fastapi import Query

from ccsr.serve.downloads import MEDIA_TYPES

Format = Literal["png", "jpeg", "webp", "tiff", "avif"]
JobId = Annotated[
    str, PathParameter(alias="id", description="from POST /v1/jobs", examples=["3f0c5d7a9b1e2d4c6f8a0b1c"])
]
Index = Annotated[int, Query(ge=0, le=2**31, description="number of the result or input, from 0")]

_PROBLEMS = {
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
}
_EXAMPLES = {
    413: "photo.png: 9000x9000 is 81.0 megapixels, the limit is 32.0 (cut or shrink it first)",
    415: "notes.txt: not a picture in a known format (PNG, JPEG, WebP, TIFF, AVIF, GIF, BMP, TGA and PNM can be read)",
    422: "--scale is '9' (choose 1 to 8)",
    429: "64 jobs wait already, the limit is 64 (come back in 12 s)",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of an operation; those of the guard are everywhere."""

    def answer(status: int) -> dict[str, Any]:
        example = {
            "type": "about:blank", "title": _PROBLEMS[status].capitalize(), "status": status,
            "detail": _EXAMPLES.get(status, _PROBLEMS[status]),
        }  # fmt: skip
        schema = {"$ref": "#/components/schemas/ProblemResponse"}
        return {
            "description": _PROBLEMS[status],
            "content": {"application/problem+json": {"schema": schema, "example": example}},
        }

    return {status: answer(status) for status in sorted({401, 403, *statuses})}


BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURES = dict.fromkeys(MEDIA_TYPES.values(), BINARY)
Responses = dict[int | str, dict[str, Any]]
PICTURE: Responses = {200: {"description": "the picture", "content": PICTURES}}
ONE_PNG: Responses = {200: {"description": "PNG", "content": {"image/png": BINARY}}}
JOB_EXAMPLE = {
    "id": "3f0c5d7a9b1e2d4c6f8a0b1c",
    "state": "running",
    "progress": 0.42,
    "seconds_left": 3.1,
    "position": 0,
    "created": 1790000000.0,
    "expires": None,
    "error": None,
    "options": {"scale": "2"},
    "inputs": [{"index": 0, "name": "photo.jpg", "stability": None, "links": {"picture": "...", "stability": None}}],
    "files": [],
    "links": {"self": "/v1/jobs/3f0c...", "events": "/v1/jobs/3f0c.../events", "result": "/v1/jobs/3f0c.../result"},
}
JOB_RESPONSE = {"content": {"application/json": {"example": JOB_EXAMPLE}}}

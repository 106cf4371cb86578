"""The routes for people: the page, and the documentation of the API. Their files lie in `page/`."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(str(files("ccsr.serve"))) / "page"

router = APIRouter(include_in_schema=False)
static = StaticFiles(directory=FOLDER)
"""Scripts and styles, to be mounted at `/page`."""


@router.api_route("/", methods=["GET", "HEAD"])
def index() -> FileResponse:
    """The page."""
    return _html("index.html")


@router.api_route("/docs", methods=["GET", "HEAD"])
def docs() -> FileResponse:
    """The documentation of the API."""
    return _html("docs.html")


def _html(name: str) -> FileResponse:
    return FileResponse(FOLDER / name, headers={"Cache-Control": "no-cache"})

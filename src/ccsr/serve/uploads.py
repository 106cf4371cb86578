"""From a multipart body to files under names of our own and plain option values."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ccsr.serve.errors import Problem, is_disk_full
from ccsr.serve.mask import mask_path
from ccsr.serve.service import Service
from ccsr.serve.store import Input

MAX_FIELDS = 60
MAX_FIELD_BYTES = 16_384


@dataclass(frozen=True)
class Received:
    """A request's pictures, in the folder of a new id, and its option fields as sent."""

    id: str
    inputs: list[Input]
    fields: dict[str, Any]


async def receive(request: Request, service: Service, *, several: bool) -> Received:
    """Read the body of a request.

    Raises:
        Problem: no multipart body, a field twice, too many of them, or a `file` or `mask` that is no file.
    """
    if service.queue.is_full:
        async for _ in request.stream():
            pass  # the middleware counts
        raise service.full()
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async for _ in request.stream():
            pass
        raise Problem(422, "the body is not multipart/form-data (send the picture in a field called file)")
    most = service.settings.max_files
    try:
        form = await request.form(max_files=most + 2, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        status = 413 if "Too many files" in str(error.detail) else 422
        raise Problem(status, f"the form cannot be read: {error.detail}") from error
    except OSError as error:  # a part that is long lies in a file meanwhile
        raise Problem.disk_full() if is_disk_full(error) else error from None
    try:
        files, masks = list[UploadFile](), list[UploadFile]()
        fields: dict[str, Any] = {}
        for name, value in form.multi_items():
            if name in ("file", "mask") and isinstance(value, UploadFile):
                (files if name == "file" else masks).append(value)
            elif name in ("file", "mask"):
                raise Problem(422, f"{name} is text (send the picture's bytes with a file name)")
            elif isinstance(value, UploadFile) or name in fields:
                what = "a file" if isinstance(value, UploadFile) else "there twice"
                raise Problem(422, f"the field {shown(name)} is {what} (send it once, as text)")
            else:
                fields[name] = value
        if not several and len(files) > 1:
            raise Problem(422, f"{len(files)} pictures (send one, or post them to /v1/jobs)")
        if len(masks) > 1:
            raise Problem(422, f"{len(masks)} masks (send one, it is laid over every picture)")
        return await run_in_threadpool(_keep, service, files, masks, fields)
    finally:
        await form.close()


def _keep(service: Service, files: list[UploadFile], masks: list[UploadFile], fields: dict[str, Any]) -> Received:
    id = service.store.new_id()
    try:
        folder = service.store.folder_of(id)
        inputs = []
        for number, file in enumerate(files):
            name = shown(file.filename or "picture")
            input = Input(number, name, f"input/{number:03d}{_suffix(name)}")
            _copy(file, folder / input.stored)
            inputs.append(input)
        for mask in masks:
            _copy(mask, mask_path(folder, _suffix(shown(mask.filename or ""))))
    except BaseException as error:
        service.store.remove(id)
        if is_disk_full(error):
            raise Problem.disk_full() from error
        raise
    return Received(id, inputs, fields)


def _copy(file: UploadFile, path: Path) -> None:
    with path.open("wb") as out:
        shutil.copyfileobj(file.file, out, 1 << 20)


def shown(name: str) -> str:
    """A client's name for a file as we repeat it: the last part, printable, not long."""
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*').strip(". ")
    stem, dot, suffix = clean.rpartition(".")
    return f"{stem[:80]}{dot}{suffix[:20]}" if dot else clean[:80] or "picture"


def _suffix(name: str) -> str:
    """The name's suffix where it looks like one; some formats are recognised by it."""
    suffix = Path(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ""

"""The server against its own OpenAPI document, with bodies that schemathesis invents."""

import io
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from PIL import Image

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
pytest.importorskip("fastapi", reason='the extra "serve" is not installed')

from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ccsr.serve.service import Service
from ccsr.serve.settings import ServeSettings

from .conftest import listening_at


def _small_picture(color: int, kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (5, 4), (color, 255 - color, 128)).save(out, kind)
    return out.getvalue()


PICTURES = st.builds(_small_picture, st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "WEBP"]))
schemathesis.openapi.format("binary", PICTURES)


@pytest.fixture(scope="module")
def address(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server whose limits are so small that an invented option cannot ask for minutes."""
    folder = tmp_path_factory.mktemp("spec")
    small = {"max_results": 4, "wait_seconds": 20, "job_seconds": 30}
    known = {"model": tiny, "data": str(folder), "threads": 1, "device": "cpu", **small}
    with listening_at(Service(ServeSettings.from_mapping(known))) as address:
        yield address


@pytest.fixture(scope="module")
def document(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


OPERATIONS = [
    ("POST", "/v1/upscale"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs/{id}"), ("DELETE", "/v1/jobs/{id}"),
    ("GET", "/v1/jobs/{id}/events"), ("GET", "/v1/jobs/{id}/result"), ("GET", "/v1/jobs/{id}/input"),
    ("GET", "/v1/jobs/{id}/stability"), ("GET", "/v1/jobs/{id}/difference"), ("GET", "/v1/results"),
    ("POST", "/v1/plan"), ("GET", "/v1/options"), ("GET", "/v1/models"), ("GET", "/healthz"),
]  # fmt: skip


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{m} {p}" for m, p in OPERATIONS])
def test_the_server_keeps_its_document(
    address: str, document: Any, method: str, path: str, mode: GenerationMode
) -> None:
    operation = document[path][method]
    statuses = set()
    # Rules between options and with the picture are no part of a schema, so a right body may be refused; and a list of
    # one number in a form is that number, so a wrong one may be right.
    left_out = [positive_data_acceptance, negative_data_rejection] if method == "POST" else []
    left_out.append(not_a_server_error)  # asked below

    @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        # The server itself may answer as late as its wait_seconds, and a busy machine later still.
        answer = case.call_and_validate(base_url=address, excluded_checks=left_out, timeout=120)
        statuses.add(answer.status_code)
        # An invented option may ask for more than a busy machine does in time.
        assert answer.status_code < 500 or answer.status_code == 504

    try:
        holds()
    except Unsatisfiable:
        pytest.skip("there is no wrong request: nothing can be sent")
    if method == "POST":
        assert statuses & ({200, 202} if mode is GenerationMode.POSITIVE else {422})


def test_the_document_is_whole(address: str) -> None:
    document = httpx2.get(f"{address}/openapi.json").json()
    options = httpx2.get(f"{address}/v1/options").json()
    assert set(document["paths"]) == {
        "/v1/upscale", "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/jobs/{id}/result",
        "/v1/jobs/{id}/input", "/v1/jobs/{id}/stability", "/v1/jobs/{id}/difference", "/v1/results",
        "/v1/plan", "/v1/options", "/v1/models", "/healthz",
    }  # fmt: skip
    for path in ("/v1/upscale", "/v1/jobs"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        assert set(options["properties"]) | {"file", "mask"} == set(content["schema"]["properties"])
        assert content["examples"]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and status != "503":
                    assert "application/problem+json" in answer["content"]

"""The bodies of responses, as the OpenAPI document shows them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ccsr.serve.store import State
from ccsr.stability.maps import FULL


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow")


class ProblemResponse(_Model):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(description="the status in words")
    status: int
    detail: str = Field(description="one line: what is wrong and what to do, as the command line prints it")


class Stability(_Model):
    """How much the samples of one picture differ."""

    mean: float = Field(description="mean over the picture, 0..1")
    scale: float = Field(description="value of the last colour of the map, 0..1")


class Consistency(_Model):
    """How true a result is to its input: reduced to the input's size by the Lanczos filter, in 8 bit."""

    psnr: float = Field(description="over R, G and B in dB; 80 for equal pictures")
    largest: int = Field(description="largest difference of a value, 0..255")
    scale: float = Field(FULL, description="value of the last colour of the map of the difference, 0..1")


class JobInput(_Model):
    """One picture that came in."""

    index: int
    name: str
    stability: Stability | None = Field(description="with two or more samples, at the job's end")
    links: dict[str, str | None]


class JobResult(_Model):
    """One result; the fields are those of `ccsr upscale --json`."""

    index: int = Field(description="number of the result, for `?index=`")
    input_index: int
    sample: int
    input: str = Field(description="the client's name for the picture")
    output: str | None = Field(description="name for a download")
    status: Literal["done", "skipped", "failed"]
    error: str | None
    width: int | None
    height: int | None
    input_width: int | None
    input_height: int | None
    seconds: dict[str, float]
    consistency: Consistency | None = Field(None, description="of a result that was made; null for one that failed")
    warnings: list[str]
    links: dict[str, str | None]


class JobResponse(_Model):
    """A job as it is now."""

    id: str
    state: State
    progress: float = Field(ge=0, le=1)
    seconds_left: float | None = Field(description="estimate to the end of this job, the jobs before it included")
    position: int = Field(description="place in the queue; 0 once it runs")
    created: float = Field(description="seconds since 1970")
    expires: float | None = Field(description="when it is removed, seconds since 1970")
    error: str | None
    options: dict[str, Any]
    inputs: list[JobInput]
    files: list[JobResult]
    links: dict[str, str]


class AcceptedResponse(_Model):
    """A job that is in line."""

    id: str
    state: State
    links: dict[str, str]


class CancelledResponse(_Model):
    """A job that was told to stop; a running one reaches `cancelled` within moments."""

    id: str
    state: State


class ModelResponse(_Model):
    """A model that requests may name."""

    name: str
    default: bool
    parameters: int
    licence: str
    sha256: str
    prompts: bool = Field(description="whether it understands text")
    useful_steps: int | None = Field(description="how many steps change its results; null: all that there are")


class HealthResponse(_Model):
    """How the server is."""

    status: Literal["ok", "broken"]
    version: str
    workers: int
    devices: list[str]
    running: int
    waiting: int
    queue: int
    limits: dict[str, float]
    needs_token: bool
    local: bool = Field(description="whether only this machine can reach it")
    reads: str = Field(description="the formats of pictures that it takes, in words")


class PhotoSize(_Model):
    """Width and height of a photo, in pixels, as it is seen, and the scales to plan for it."""

    width: int = Field(ge=1, le=1_000_000)
    height: int = Field(ge=1, le=1_000_000)
    scales: list[int | float | str] = Field(default=[2, 4], max_length=20, description="1 to 8, or fractions as text")


class PlanRequest(_Model):
    """Photos that are not sent yet."""

    photos: list[PhotoSize] = Field(min_length=1, max_length=200)
    options: dict[str, str] = Field(default={}, description="the form's other fields; its sizes are left out")


class ChoiceResponse(_Model):
    """What a photo would become at one scale."""

    scale: float
    width: int | None
    height: int | None
    seconds: float | None = Field(description="estimate of all samples, the queue not counted")
    late: bool = Field(description="whether a job of this server would be stopped before that")
    problem: str | None = Field(description="why it cannot be")


class PhotoPlan(_Model):
    """The choices for one photo."""

    width: int
    height: int
    choices: list[ChoiceResponse] = Field(description="one for each scale, in their order")
    largest: ChoiceResponse


class PlanResponse(_Model):
    """The choices for each photo, in their order."""

    photos: list[PhotoPlan]

"""Estimates from jobs whose time is known."""

import math

import pytest

from ccsr.options import UpscaleOptions
from ccsr.plan import make_plan
from ccsr.serve.eta import Estimator
from ccsr.serve.queue import ActiveJob
from ccsr.serve.store import StoredJob
from ccsr.weights import describe

DAY = 86400


def job(flops: float) -> ActiveJob:
    return ActiveJob.of(StoredJob("0", "queued", transient=False, created=0, options={}, flops=flops))


def test_a_constant_and_a_slope() -> None:
    """Jobs of 0.5 s and a nanosecond per thousand operations, whatever was expected."""
    estimator = Estimator(1, DAY)
    plan = make_plan(64, 64, UpscaleOptions(device="cpu"), describe("nano"))
    estimator.expect(plan)
    for flops in (1e9, 1e11, 1e12, 1e13, 3e12) * 3:
        estimator.learn(0.5 + flops * 1e-12, flops)
    for flops in (0, 1e12, 1e14):
        assert estimator.seconds_for(flops) == pytest.approx(0.5 + flops * 1e-12, rel=0.15)


def test_tiny_pictures_say_nothing_of_large_ones() -> None:
    estimator = Estimator(1, 100 * DAY)
    plan = make_plan(2000, 1500, UpscaleOptions(device="cpu"), describe("nano"))
    estimator.expect(plan)
    expected = estimator.seconds_for(plan.flops)
    assert expected is not None
    for _ in range(30):
        estimator.learn(0.4, plan.flops / 1e7)  # in proportion that would be 46 days for the large one
    told = estimator.seconds_for(plan.flops)
    assert told == pytest.approx(expected, rel=0.2)
    assert estimator.seconds_for(plan.flops / 1e7) == pytest.approx(0.4, rel=0.2)


def test_no_promise_beyond_the_time_a_job_has() -> None:
    estimator = Estimator(2, 3600)
    assert estimator.seconds_for(1e12) is None
    estimator.learn(100, 1e12)
    assert estimator.seconds_for(1e15) > 50_000
    assert estimator.seconds_left(job(1e15)) == 3600
    # Two workers share four such jobs.
    assert math.isclose(estimator.seconds_of([job(1e15)] * 4), 7200)

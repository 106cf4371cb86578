"""A pipeline that goes to another process, and one that is copied."""

import copy
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ccsr import CCSRError, CCSRPipeline, WeightsError
from helpers import pack_tiny_model

PHOTO = np.random.default_rng(0).random((9, 12, 3), np.float32)


@pytest.fixture
def pipe(tiny: str) -> CCSRPipeline:
    pipeline = CCSRPipeline.from_pretrained(tiny)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _result(pipeline: CCSRPipeline) -> np.ndarray:
    return pipeline(PHOTO, output_type="np", threads=1, dtype="fp32").images[0]


def test_a_pickle_is_small_and_gives_the_same_pictures(pipe: CCSRPipeline) -> None:
    stored = pickle.dumps(pipe)
    assert len(stored) < 2000
    again = pickle.loads(stored)  # noqa: S301 -- our own
    np.testing.assert_array_equal(_result(again), _result(pipe))
    assert again._progress_bar_config == {"disable": True}
    half = pickle.loads(pickle.dumps(pipe.to(torch.bfloat16)))  # noqa: S301
    assert half.unet.dtype == torch.bfloat16


def test_a_pickle_finds_its_model_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_tiny_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    stored = pickle.dumps(CCSRPipeline.from_pretrained("model"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(stored).description.folder == tmp_path / "model"  # noqa: S301


def test_a_pickle_whose_model_has_changed_is_refused(tmp_path: Path) -> None:
    first = CCSRPipeline.from_pretrained(pack_tiny_model(tmp_path / "model"))
    stored = pickle.dumps(first)
    with torch.no_grad():
        next(first.unet.parameters()).add_(1)
    (tmp_path / "model").rename(tmp_path / "before")
    first.save_pretrained(tmp_path / "model")
    with pytest.raises(WeightsError, match="other weights lie here than when the pipeline was pickled"):
        pickle.loads(stored)  # noqa: S301


def test_parts_are_not_pickled(pipe: CCSRPipeline) -> None:
    with pytest.raises(TypeError, match="save_pretrained, then from_pretrained"):
        pickle.dumps(CCSRPipeline(**pipe.components))


def test_a_deep_copy_has_networks_of_its_own_as_they_are(pipe: CCSRPipeline) -> None:
    with torch.no_grad():
        next(pipe.unet.parameters()).add_(0.1)
    twin, before = copy.deepcopy(pipe), _result(pipe)
    # Weights of a file lie where they do in the file, copies where it suits; some processors then add in another order.
    np.testing.assert_allclose(_result(twin), before, atol=1e-5)
    with torch.no_grad():
        next(twin.unet.parameters()).add_(0.5)
    assert not np.allclose(_result(twin), before, atol=1e-3)
    np.testing.assert_array_equal(_result(pipe), before)
    assert twin._lock is not pipe._lock


def test_a_process_that_is_spawned_gets_it(pipe: CCSRPipeline) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (there,) = pool.map(_result, [pipe])
    np.testing.assert_array_equal(there, _result(pipe))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_process_is_told_so_at_once(pipe: CCSRPipeline, tiny: str) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        for attempt in (lambda: _result(pipe), lambda: CCSRPipeline.from_pretrained(tiny)):
            try:
                attempt()
            except CCSRError as error:
                os.write(writing, f"{error}\n".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        lines = told.read().splitlines()
    assert len(lines) == 2
    assert all("forked from one that had a pipeline" in line and "spawn" in line for line in lines)

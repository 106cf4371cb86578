"""Noise is a function of seed, sample, draw and position; a pinned hash guards its definition."""

import hashlib

import numpy as np
import torch
from scipy import stats

from ccsr.method.noise import NoiseSource, normal_field


def test_pinned() -> None:
    field = normal_field(7, 3, 1, 4, 16, 16)
    # Rounded, so that the last bit of a machine's logarithm does not count.
    digest = hashlib.sha256(np.round(field.numpy().astype(np.float64), 4).astype(np.float32).tobytes()).hexdigest()
    assert digest[:16] == "7ff86ac63b08913d"


def test_position_decides_not_size() -> None:
    large = normal_field(1, 0, 2, 4, 40, 50)
    assert torch.equal(normal_field(1, 0, 2, 4, 20, 30), large[..., :20, :30])


def test_every_key_gives_other_values() -> None:
    fields = [normal_field(*key, 4, 8, 8) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**62, 0, 0))]
    for i, a in enumerate(fields):
        for b in fields[i + 1 :]:
            assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.25


def test_standard_normal() -> None:
    values = normal_field(5, 0, 0, 4, 128, 128).double().numpy()
    assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3
    for axis in (1, 2, 3):
        ahead, behind = (
            np.take(values, range(1, values.shape[axis]), axis),
            np.take(values, range(values.shape[axis] - 1), axis),
        )
        assert abs(np.corrcoef(ahead.ravel(), behind.ravel())[0, 1]) < 0.02


def test_named_draws_differ() -> None:
    noise = NoiseSource(0, [0], (3, 6, 7))
    shapes = {noise(name).shape for name in ("posterior", "start", "renoise", "step1", "step2")}
    assert shapes == {(1, 3, 6, 7)}
    assert not torch.equal(noise("start"), noise("renoise"))
    assert torch.equal(noise("step1"), noise("step1"))


def test_a_batch_is_its_samples_and_only_the_posterior_is_drawn_twice() -> None:
    noise, alone = NoiseSource(5, [3, 8], (3, 6, 7), posterior_draws=2), NoiseSource(5, [8], (3, 6, 7))
    assert torch.equal(noise("start")[1:], alone("start"))
    assert len(noise("start")) == len(noise("step1")) == 2
    posterior = noise("posterior")
    assert torch.equal(posterior[1:2], alone("posterior"))
    rows = [row.flatten() for row in posterior]
    assert len(rows) == 4
    assert all(not torch.equal(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :])

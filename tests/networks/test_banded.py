import pytest
import torch

from ccsr.images import buffers
from ccsr.networks.banded import by_bands


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of 16 rows, and nothing is small."""
    monkeypatch.setattr(buffers, "RESIDENT", 0)
    monkeypatch.setattr(buffers, "BAND", 16)


@pytest.mark.usefixtures("narrow")
def test_values_are_those_of_the_whole() -> None:
    """Of what is computed with several tensors, more rows than one of them has, and any layout in memory."""
    draw = torch.Generator().manual_seed(0)
    mean, other = (torch.randn(1, 16, 50, 33, generator=draw) for _ in range(2))
    noise = torch.randn(2, 16, 50, 33, generator=draw)
    seen = []

    def drawn(mean: torch.Tensor, other: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        seen.append(mean.shape[-2])
        return mean.repeat(2, 1, 1, 1) + torch.exp(0.5 * other.clamp(-1, 1)) * noise

    whole = drawn(mean, other, noise)
    found = by_bands(drawn, mean.contiguous(memory_format=torch.channels_last), other, noise)
    assert seen == [50, 16, 16, 16, 2]
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("narrow")
def test_what_is_trained_through_has_its_gradient() -> None:
    x = torch.ones(1, 4, 40, 3, requires_grad=True)
    by_bands(lambda x: 3 * x, x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full_like(x, 3))


def test_small_tensors_are_taken_whole() -> None:
    seen = []
    by_bands(lambda x: (seen.append(x.shape), x)[1], torch.ones(1, 4, 4000, 3))
    assert seen == [(1, 4, 4000, 3)]

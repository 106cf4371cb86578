"""How much of a file of weights is in memory while its tensors are made into others."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ccsr.weights import tensors
from ccsr.weights.load import load_network
from ccsr.weights.tensors import read_tensors

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux what is in memory")


def _resident(path: Path) -> int:
    """Bytes of the file that lie in this process's memory, each as often as it is there."""
    text = Path("/proc/self/smaps").read_text()
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    return sum(int(re.search(r"^Rss:\s+(\d+)", part, re.MULTILINE)[1]) * 1024 for part in parts if str(path) in part)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tensors, "_OPEN_AT_ONCE", 4_000_000)
    path = tmp_path / "weights.safetensors"
    save_file({f"layer.{i}": torch.full((1_000_000,), float(i)) for i in range(10)}, path)
    return path


def test_a_converted_file_is_never_there_as_a_whole(file: Path) -> None:
    seen = []

    def convert(tensor: Tensor) -> Tensor:
        made = tensor.bfloat16()
        seen.append(_resident(file))
        return made

    made = read_tensors(file, convert)
    assert [float(made[f"layer.{i}"][7]) for i in range(10)] == list(range(10))
    assert 3_900_000 < max(seen) < 14_000_000, "a few tensors of the 40 MB"
    assert _resident(file) < 1_000_000


def test_what_needs_no_conversion_is_the_file_itself(file: Path) -> None:
    kept = read_tensors(file, lambda tensor: tensor.to(torch.float32))
    assert _resident(file) < 1_000_000, "nothing was read yet"
    assert float(kept["layer.3"].sum()) == 3_000_000
    assert 3_900_000 < _resident(file) < 8_000_000


def test_a_network_in_channels_last_is_the_same(tiny: str) -> None:
    for part in ("unet", "vae"):
        plain = load_network(part, Path(tiny) / part)
        other = load_network(part, Path(tiny) / part, memory_format=torch.channels_last)
        for (name, one), (_, two) in zip(plain.named_parameters(), other.named_parameters(), strict=True):
            assert torch.equal(one, two), name
            assert two.ndim != 4 or two.is_contiguous(memory_format=torch.channels_last), name

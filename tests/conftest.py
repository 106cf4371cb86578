"""Shared by all tests: how torch uses threads, and the way to the optional shared data."""

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

# One thread where a test does not ask for more, and none that keeps a core busy while it waits for another: on a
# machine that others use, too, most of the time would go there. Programs that tests start inherit both.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What the programs remember of single results is not the user's own.
_state = tempfile.TemporaryDirectory(prefix="ccsr-tests-")
os.environ["XDG_STATE_HOME"] = _state.name

# A shell has what it starts in the background ignore Ctrl-C, and the programs that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

with suppress(ImportError):  # which the environment of the learned metrics does not have
    from hypothesis import HealthCheck, settings

    # How long an example takes is the machine's matter.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")

GOLDEN = Path(__file__).parent / "golden" / "parity"
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def shared() -> Path:
    """The folder of benchmark pictures and large recordings, where a checkout has one beside it."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data folder beside the checkout ({SHARED.name})")
    return SHARED


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a packed model with random weights, for the commands."""
    from helpers import pack_tiny_model

    return str(pack_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def tiny_compact(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As `tiny`, of nano's own classes."""
    from helpers import pack_tiny_compact

    return str(pack_tiny_compact(tmp_path_factory.mktemp("models") / "tiny-compact"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the test is in, so that short relative names show up in messages."""
    monkeypatch.chdir(tmp_path)
    return tmp_path

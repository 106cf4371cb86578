"""The loop: what it averages, that it goes on as if nothing had happened, and what it does when the disk is full."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ccsr.errors import MissingExtraError, OptionError, TrainingError
from ccsr.training import checkpoints
from ccsr.training import run as run_module
from ccsr.training.config import Config, LoopConfig
from ccsr.training.loop import EMA, Progress, rate_factor
from ccsr.training.run import train
from training.conftest import quick_file, state_of

Quick = Callable[..., Config]


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_continued_run_equals_an_uninterrupted_one(stage: str, quick: Quick, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(quick(stage, whole))
    # Batches of two from five pictures: step 3 ends in the middle of an epoch, the third batch crosses its border.
    for steps in (1, 3, 6):
        train(quick(stage, parts, f"loop.steps={steps}"))
    assert state_of(whole) == state_of(parts)
    names = set(load_file(max((whole / "checkpoints").glob("step-*")) / "weights.safetensors"))
    assert any(n.startswith("denoiser/unet" if stage == "stage1" else "critic/judge.main") for n in names)


def test_a_continued_run_of_several_passes_goes_on_at_the_same_picture(quick: Quick, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(quick("stage1", whole, "loop.accumulate=2", "loop.steps=2"))
    for steps in (1, 2):
        train(quick("stage1", parts, "loop.accumulate=2", f"loop.steps={steps}"))
    assert state_of(whole) == state_of(parts)


def test_passes_and_workers_change_nothing_but_the_order_of_work(quick: Quick, tmp_path: Path) -> None:
    train(quick("stage1", tmp_path / "a", "loop.steps=2", "loop.accumulate=2"))
    train(quick("stage1", tmp_path / "b", "loop.steps=2", "loop.accumulate=2", "data.workers=2"))
    assert state_of(tmp_path / "a") == state_of(tmp_path / "b")


@pytest.mark.slow
def test_two_processes_do_what_two_passes_do(tiny: str, photos: Path, quick: Quick, tmp_path: Path) -> None:
    """So gradients are averaged, also the decoder's, and samples, noise and timesteps differ between ranks."""
    file = quick_file("stage2", tiny, photos, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(2):
        words = [f"run={tmp_path / 'two'}", "loop.steps=2"]
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        started.append(_ccsr(["train", "stage2", "--config", str(file), *words], environment))
    for process in started:
        _, err = process.communicate()
        assert process.returncode == 0, err
    train(quick("stage2", tmp_path / "one", "loop.steps=2", "loop.accumulate=2"))
    two, one = (
        load_file(max((tmp_path / r / "checkpoints").glob("step-*")) / "weights.safetensors") for r in ("two", "one")
    )
    trained = [n for n in one if "running" not in n and "num_batches" not in n]
    assert any(n.startswith("decoder/") for n in trained)
    assert any(n.startswith("critic/") for n in trained)
    for name in trained:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-6, msg=name)


def test_draws_of_each_pass_differ() -> None:
    from ccsr.training.loop import StepNoise

    cpu = torch.device("cpu")
    a, again, b = (StepNoise(7, number, cpu) for number in (4, 4, 5))
    assert torch.equal(a.normal((3,)), again.normal((3,)))
    assert not torch.equal(a.normal((3,)), b.normal((3,)))
    assert a.rng.random() == again.rng.random() != b.rng.random()


_KILLER = """
import os, signal, sys
import ccsr.atomic
import ccsr.training.checkpoints
import torch
torch.set_num_threads(1)
where, count = sys.argv[1], int(sys.argv[2])
seen = [0]
def dying(module, name):
    original = getattr(module, name)
    def run(*a, **k):
        seen[0] += 1
        if seen[0] == count:
            if name == "save_file":
                a[1].write_bytes(b"half of a")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*a, **k)
    setattr(module, name, run)
if where == "write": dying(ccsr.training.checkpoints, "save_file")
elif where == "rename": dying(ccsr.atomic, "_flush")
else:
    import ccsr.training.loop as l
    original = l.TrainState.update
    def run(self, *a):
        seen[0] += 1
        if seen[0] == count: os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *a)
    l.TrainState.update = run
from ccsr.cli.main import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.slow
def test_killed_anywhere_it_ends_in_the_same_weights(tiny: str, photos: Path, tmp_path: Path) -> None:
    """SIGKILL at a step, at an epoch's border, between two files of a checkpoint, within one, and before the rename."""
    file = quick_file("stage1", tiny, photos, tmp_path)
    words = ["train", "stage1", "--config", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(folder: str, *kill: str) -> int:
        command = [sys.executable, "-c", _KILLER, *(kill or ("never", "0")), *words, f"run={tmp_path / folder}"]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert run("whole") == 0
    kills = [("step", "2"), ("write", "1"), ("write", "5"), ("step", "3"), ("rename", "2")]
    for where, count in kills:
        assert run("killed", where, count) == -signal.SIGKILL, (where, count)
    assert run("killed") == 0
    assert state_of(tmp_path / "killed") == state_of(tmp_path / "whole")
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_killed_at_any_time(tiny: str, photos: Path, tmp_path: Path) -> None:
    """SIGKILL from outside at moments nobody chose."""
    file = quick_file("stage1", tiny, photos, tmp_path)
    words = ["train", "stage1", "--config", str(file), "loop.steps=40", "loop.save_every=3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = _ccsr([*words, f"run={tmp_path / 'whole'}"], environment)
    assert process.wait() == 0
    run = tmp_path / "killed"
    for pause in (0.13, 0.41, 0.77):
        before = _log_of(run)
        process = _ccsr([*words, f"run={run}"], environment)
        while process.poll() is None and _log_of(run) == before:
            time.sleep(0.01)
        time.sleep(pause)
        process.kill()
        process.wait()
    process = _ccsr([*words, f"run={run}"], environment)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert state_of(run) == state_of(tmp_path / "whole")


_HOLDER = """
import fcntl, sys
with open(sys.argv[1], "wb") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print(flush=True)
    sys.stdin.read()
"""


def test_a_second_process_in_the_folder_is_told_so(quick: Quick, tmp_path: Path) -> None:
    config = quick("stage1", tmp_path / "run", "loop.steps=1")
    (tmp_path / "run").mkdir()
    holder = [sys.executable, "-c", _HOLDER, str(tmp_path / "run" / ".ccsr-lock")]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(TrainingError, match="another process is training in this folder"):
            train(config)
        other.communicate()
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert train(config).finished


def test_a_full_disk_stops_with_the_last_checkpoint_whole(quick: Quick, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(quick("stage1", run, "loop.steps=2"))
    before = state_of(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as a quota does: writing beyond fails
    try:
        with pytest.raises(TrainingError) as raised:
            train(quick("stage1", run, "loop.steps=4"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(raised.value).startswith(f"{run}: the checkpoint of step 4 cannot be written: ")
    assert "the checkpoint of step 2 is whole; make room, the same command goes on" in str(raised.value)
    assert state_of(run) == before
    train(quick("stage1", run, "loop.steps=4"))
    train(quick("stage1", tmp_path / "other", "loop.steps=4"))
    assert state_of(run) == state_of(tmp_path / "other")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupt_saves_and_the_same_command_goes_on(
    number: signal.Signals, tiny: str, photos: Path, quick: Quick, tmp_path: Path
) -> None:
    file, run = quick_file("stage1", tiny, photos, tmp_path), tmp_path / "run"
    words = ["train", "stage1", "--config", str(file), f"run={run}", "loop.steps=100000", "loop.save_every=100000"]
    # As from a keyboard or a scheduler: the workers hear it, too.
    process = _ccsr([*words, "data.workers=2"], {**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    while process.poll() is None and _log_of(run).count(b"\n") < 3:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, err = process.communicate()
    assert process.returncode == 130, err
    step = checkpoints.latest(run)
    assert step
    assert f"stopped after step {step}; the same command goes on" in err
    assert "Traceback" not in err
    outcome = train(quick("stage1", run, f"loop.steps={step + 1}", f"loop.save_every={10**5}"))
    assert (outcome.finished, outcome.step) == (True, step + 1)


def test_time_that_is_up_stops_too(quick: Quick, tmp_path: Path) -> None:
    outcome = train(quick("stage1", tmp_path / "run", "loop.hours=1e-9"))
    assert (outcome.finished, outcome.step, outcome.model) == (False, 1, None)


def test_another_config_in_the_same_folder_is_refused(quick: Quick, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(quick("stage1", run, "loop.steps=1"))
    with pytest.raises(OptionError, match=r"began with another loop.seed \(give run=ANOTHER-FOLDER to begin anew\)"):
        train(quick("stage1", run, "loop.seed=3"))


def test_a_finished_run_is_not_run_again(quick: Quick, tmp_path: Path) -> None:
    run, heard = tmp_path / "run", list[Progress]()
    train(quick("stage1", run, "loop.steps=1"))
    outcome = train(quick("stage1", run, "loop.steps=1"), heard.append)
    assert (outcome.finished, outcome.step, heard) == (True, 1, [])


def test_old_checkpoints_go(quick: Quick, tmp_path: Path) -> None:
    train(quick("stage1", tmp_path, "loop.save_every=1", "loop.keep=2", "loop.steps=4"))
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000003", "step-00000004"]


def test_folders_that_are_no_steps_are_left_alone(quick: Quick, tmp_path: Path) -> None:
    for name in ("step-best", "step-3", "step-000000009"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    train(quick("stage1", tmp_path, "loop.save_every=1", "loop.keep=1", "loop.steps=2"))
    names = ["step-000000009", "step-00000002", "step-3", "step-best"]
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == names
    assert checkpoints.latest(tmp_path) == 2


def test_the_length_of_a_cosine_belongs_to_the_run(quick: Quick, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cosine = ("loop.schedule=cosine", "loop.save_every=1")
    train(quick("stage1", run, *cosine, "loop.hours=1e-9"))
    with pytest.raises(OptionError) as raised:
        train(quick("stage1", run, *cosine, "loop.steps=9"))
    assert str(raised.value) == (
        f"{run}: loop.steps is 9, and the rate of this run falls by a cosine over 6 steps"
        " (give loop.steps=6 to go on, loop.steps=1 to end it here, or run=ANOTHER-FOLDER to begin anew)"
    )
    ended = train(quick("stage1", run, *cosine, "loop.steps=1"))
    assert (ended.finished, ended.step) == (True, 1)
    heard = list[Progress]()
    train(quick("stage1", run, *cosine, "loop.steps=1"), heard.append)
    assert heard == [], "it is finished"
    # The cosine is still the one of six steps.
    with pytest.raises(OptionError, match="by a cosine over 6 steps"):
        train(quick("stage1", run, *cosine, "loop.steps=9"))
    train(quick("stage1", run, *cosine))
    train(quick("stage1", tmp_path / "whole", *cosine))
    assert state_of(run) == state_of(tmp_path / "whole")


def test_losses_that_stay_without_a_number_end_the_run(quick: Quick, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no finite gradient in 20 steps"):
        train(quick("stage1", tmp_path, "loop.steps=100", "loop.learning_rate=1e30", "loop.clip_norm=1e30"))


def test_a_gradient_above_the_limit_is_scaled_down_to_it(quick: Quick, tmp_path: Path) -> None:
    """Adam's first step hides the length of a gradient; its first moment after one step, (1 - beta1) g, does not."""
    for limit, clipped in ((1e-3, True), (1e3, False)):
        run = tmp_path / f"{limit}"
        train(quick("stage1", run, "loop.steps=1", f"loop.clip_norm={limit}", "loop.betas=[0.5, 0.999]"))
        norm = json.loads((run / "log.jsonl").read_text().splitlines()[0])["gradient"]
        assert 1e-3 < norm < 1e3, "what is told is the norm before"
        moments = load_file(next((run / "checkpoints").glob("step-*")) / "optimizer.safetensors")
        first = torch.cat([value.flatten() for name, value in moments.items() if name.endswith("/exp_avg")])
        assert float(first.norm()) / 0.5 == pytest.approx(limit if clipped else norm, rel=1e-3)


@pytest.mark.parametrize(
    "words",
    [["loop.precision=bf16"], ["loop.precision=bf16", "model.trained=[controlnet]"], ["loop.checkpointing=true"]],
)
def test_ways_of_computing_keep_the_losses(words: list[str], quick: Quick, tmp_path: Path) -> None:
    """bf16 (the UNet learning, or kept in it) and recomputed activations change the first loss by rounding alone."""
    run = tmp_path / "run"
    train(quick("stage1", run, "loop.steps=1", *words))
    other = [w for w in words if w.startswith("model")]
    train(quick("stage1", tmp_path / "plain", "loop.steps=1", *other))
    ours, theirs = (json.loads((f / "log.jsonl").read_text().splitlines()[0]) for f in (run, tmp_path / "plain"))
    names = set(theirs) & {"diffusion", "x0_at_T", "x0_at_t_max", "gradient"}
    assert len(names) >= 3
    for name in names:
        assert ours[name] == pytest.approx(theirs[name], rel=0.03), name
        assert theirs[name] > 0


def test_fp16_needs_a_gpu(quick: Quick, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(OptionError, match=r"fp16 without a GPU \(choose bf16 or fp32\)"):
        train(quick("stage1", tmp_path / "run", "loop.precision=fp16"))


def test_auto_is_bf16_where_a_processor_trains_faster_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for faster, expected in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr(run_module, "bf16_is_faster", lambda backward, faster=faster: backward and faster)
        assert run_module._on_this_machine(LoopConfig(precision="auto")).precision == expected
    assert run_module._on_this_machine(LoopConfig(precision="bf16")).precision == "bf16"


def test_a_tracker_that_is_not_here_is_told_before_anything_is_written(quick: Quick, tmp_path: Path) -> None:
    from accelerate.tracking import LoggerType, get_available_trackers

    here = {str(t) for t in get_available_trackers()}
    missing = next(str(t) for t in LoggerType if str(t) not in {"all", *here})
    with pytest.raises(MissingExtraError, match=f"^loop.tracker is {missing}, which is not installed "):
        train(quick("stage1", tmp_path / "run", f"loop.tracker={missing}"))
    with pytest.raises(OptionError, match=r"^loop.tracker is wanbd \(choose from all, aim, tensorboard, "):
        train(quick("stage1", tmp_path / "run", "loop.tracker=wanbd"))
    assert not (tmp_path / "run").exists()


def test_a_tracker_hears_the_losses_and_sees_the_pictures(quick: Quick, photos: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["loop.tracker=tensorboard", "loop.steps=2", "loop.evaluate_every=2", "validation.hold_out=1"]
    train(quick("stage1", tmp_path / "run", *words))
    found = events.EventAccumulator(str(next((tmp_path / "run").rglob("events.*")).parent))
    found.Reload()
    assert {"train/diffusion", "train/rate", "validation/s1"} <= set(found.Tags()["scalars"])
    assert [e.step for e in found.Scalars("train/diffusion")] == [1, 2]
    assert found.Tags()["images"]


def test_the_average_is_the_usual_one() -> None:
    """Against the recursion written out; the decay begins lower, so that a short run is not its first weights."""
    value = torch.tensor([0.0])
    average, expected = EMA({"w": value}, 0.9), 0.0
    for n in range(1, 60):
        value += 1
        average.update({"w": value})
        decay = min(0.9, n / (n + 10))
        expected = decay * expected + (1 - decay) * n
    assert float(average.values["w"]) == pytest.approx(expected, rel=1e-5)
    with average.swapped_in({"w": value}):
        assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(value) == 59


def test_the_rate_rises_holds_and_falls() -> None:
    config = LoopConfig(steps=100, warmup=10, schedule="cosine", hold=0.5, final_rate=0.1)
    rates = [rate_factor(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:50] == [1.0] * 40
    assert rates[75] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert rate_factor(99, LoopConfig(steps=100)) == 1.0


def _log_of(run: Path) -> bytes:
    return (run / "log.jsonl").read_bytes() if (run / "log.jsonl").exists() else b""


def _ccsr(words: list[str], environment: dict[str, str], **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ccsr", *words]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **how)

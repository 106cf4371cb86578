"""Completion scripts, asked as a shell asks them."""

import io
import os
import pty
import shutil
import subprocess
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest

from ccsr.cli.main import COMMANDS, main


@cache
def script(shell: str) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["completion", shell]) == 0
    return printed.getvalue()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ccsr", ""], list(COMMANDS)),
        (["ccsr", "--v"], ["--version"]),
        (["ccsr", "up"], ["upscale"]),
        (["ccsr", "train", ""], ["pretrain", "stage1", "stage2"]),
        (["ccsr", "train", "stage1", "--con"], ["--config"]),
        (["ccsr", "train", "stage2", "--config", "a.yaml", "loop.steps=1", "--dry"], ["--dry-run"]),
        (["ccsr", "data", "c"], ["check"]),
        (["ccsr", "data", "check", "pairs", "--"], ["--help"]),
        (["ccsr", "models", "i"], ["info"]),
        (["ccsr", "models", "pack", "--l"], ["--licence"]),
        (["ccsr", "models", "pack", "--dtype", ""], ["bf16", "fp32"]),
        (["ccsr", "completion", "z"], ["zsh"]),
        (["ccsr", "upscale", "a.png", "--color-fix", ""], ["adain", "wavelet", "none"]),
        (["ccsr", "upscale", "--st"], ["--steps", "--stability-map", "--strip-metadata"]),
        (["ccsr", "upscale", "--format", "t"], ["tiff"]),
        (["ccsr", "upscale", "--help"], ["--help", "--help-all"]),
        (["ccsr", "upscale", "--t"], ["--t-max", "--t-min", "--tile", "--threads"]),
        (["ccsr", "evaluate", "--gu"], ["--guidance"]),
        (["ccsr", "upscale", "models", ""], []),
        (["ccsr", "upscale", "ph"], []),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_bash_offers(typed: list[str], offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "ccsr.bash").write_text(script("bash"))
    words = " ".join(f"'{word}'" for word in typed)
    asked = (
        f"source '{tmp_path}/ccsr.bash'; COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1};"
        ' set -- $(complete -p ccsr); while [ "$1" != -F ]; do shift; done; "$2";'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    answer = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    assert answer.stdout.split() == offered


INTERACTIVE = {
    "bash": (["bash", "--norc", "-i"], "source ./_ccsr"),
    "zsh": (["zsh", "-f", "-i"], "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D"),
}


@pytest.mark.parametrize("shell", INTERACTIVE)
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ccsr train stage1 --con", ["train", "stage1", "--config"]),
        ("ccsr models pack a --dtype b", ["models", "pack", "a", "--dtype", "bf16"]),
        ("ccsr upscale a.png my", ["upscale", "a.png", "my photo.png"]),
        ("ccsr upscale a.png my\\ ph", ["upscale", "a.png", "my photo.png"]),
    ],
)
def test_the_tab_key(shell: str, line: str, words: list[str], tmp_path: Path) -> None:
    """The line, Tab, Enter: what the program was called with, at a terminal of its own."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not here")
    (tmp_path / "_ccsr").write_text(script(shell))
    (tmp_path / "my photo.png").touch()
    program, setup = INTERACTIVE[shell]
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        program, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "dumb"},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    told = tmp_path / "told"
    os.write(ours, f"{setup}\nccsr() {{ printf '%s\\n' \"$@\" >told; }}\n{line}\t\nexit\n".encode())
    with suppress(OSError):  # the terminal is gone when the shell has left
        while os.read(ours, 4096):
            pass
    os.close(ours)
    assert running.wait() == 0
    assert told.read_text().splitlines() == words


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ccsr train stage1 --con", ["--config"]),
        ("ccsr models pack --dtype ", ["bf16", "fp32"]),
        ("ccsr upscale a.png --color-fix w", ["wavelet"]),
        ("ccsr upscale a.png my", ["my photo.png"]),
    ],
)
def test_fish_offers(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "ccsr.fish").write_text(script("fish"))
    (tmp_path / "my photo.png").touch()
    asked = f"source ccsr.fish; complete -C '{line}'"
    answer = subprocess.run(["fish", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [found.split("\t")[0] for found in answer.stdout.splitlines()] == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell: str, tmp_path: Path) -> None:
    text = script(shell)
    assert "adain wavelet none" in text
    assert "tile_diffusion" not in text
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not here to read it")
    (tmp_path / "script").write_text(text)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)

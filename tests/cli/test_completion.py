"""Completion scripts, asked as a shell asks them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ccsr.cli.main import COMMANDS, main


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ccsr", ""], list(COMMANDS)),
        (["ccsr", "up"], ["upscale"]),
        (["ccsr", "models", "i"], ["info"]),
        (["ccsr", "models", "pack", "--l"], ["--licence"]),
        (["ccsr", "models", "pack", "--dtype", ""], ["bf16", "fp32"]),
        (["ccsr", "completion", "z"], ["zsh"]),
        (["ccsr", "upscale", "a.png", "--color-fix", ""], ["adain", "wavelet", "none"]),
        (["ccsr", "upscale", "--st"], ["--steps", "--stability-map", "--strip-metadata"]),
        (["ccsr", "upscale", "--format", "t"], ["tiff"]),
        (["ccsr", "upscale", "ph"], []),
    ],
)
def test_bash_offers(typed: list[str], offered: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "ccsr.bash").write_text(script("bash", capsys))
    words = " ".join(f"'{word}'" for word in typed)
    asked = (
        f"source '{tmp_path}/ccsr.bash'; COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _ccsr;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    answer = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    assert answer.stdout.split() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = script(shell, capsys)
    assert "adain wavelet none" in text
    assert "tile_diffusion" not in text
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not here to read it")
    (tmp_path / "script").write_text(text)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)

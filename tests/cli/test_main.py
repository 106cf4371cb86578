"""The front of the command: help, mistakes, exit codes, and how little is loaded for them."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from ccsr.cli import terminal
from ccsr.cli.main import COMMANDS, main


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("upscal a.png", "no command is called upscal (did you mean upscale?)"),
        ("frobnicate", f"no command is called frobnicate (choose from {', '.join(COMMANDS)}, --help, --version)"),
        ("--verson", "no option is called --verson (did you mean --version?)"),
        ("upscale --scal 4 a.png", "no option is called --scal (did you mean --scale?)"),
        ("upscale --colour-fix=adain a.png", "no option is called --colour-fix (did you mean --color-fix?)"),
        ("upscale a.png --xyzzy", "no option is called --xyzzy (ccsr upscale --help-all lists what there is)"),
        ("serve --xyzzy", "no option is called --xyzzy (ccsr serve --help lists what there is)"),
        ("upscale a.png --scale", "--scale needs a value"),
        ("upscale a.png -s", "--scale needs a value"),
        ("upscale", "no input is given (for instance: ccsr upscale photo.jpg)"),
        ("upscale a.png -s 9", "--scale is 9 (choose 1 to 8)"),
        ("upscale a.png -s four", "--scale is 'four' (expected a number or a fraction such as 2/3)"),
        ("upscale a.png --seed 1.5", "--seed is '1.5' (expected a whole number)"),
        ("upscale a.png --seed -1", "--seed is -1 (choose 0 to 9.22337e+18)"),
        ("upscale a.png --color-fix adam", "--color-fix is 'adam' (did you mean adain? choose from adain, wavelet,"
                                           " none)"),
        ("upscale a.png --steps 2 --T 6", "--steps excludes --T (give one or the other)"),
        ("upscale a.png --width 9 --scale 2", "--scale and --width both set the size (give one of them)"),
        ("upscale a.png -m nanno", "no model or folder is called nanno"),
        ("models lst", "no command of ccsr models is called lst (did you mean list?)"),
        ("models info", "one model is needed, 0 given (ccsr models list shows what there is)"),
        ("models pack x", "-o is needed (the folder to make)"),
        ("models pack x -o y --dtype fp8", "--dtype is 'fp8' (choose bf16 or fp32)"),
        ("completion fsh", "no shell is called fsh (did you mean fish?)"),
        ("verify .", ".: no cases.json in this folder (give a folder of recorded cases)"),
        ("models list extra", "extra is one argument too many (ccsr models list --help lists what there is)"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(
    line: str, message: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("line", ["upscale a.png -m nanno", "models info nanno", "models verify nanno"])
def test_a_misspelt_model_names_the_nearest(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr().err == "error: no model or folder is called nanno (did you mean nano?)\n"


@pytest.mark.parametrize("line", ["", "--help", "-h"])
def test_help_names_every_command(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in ("upscale", "models", "verify", "completion"))


@pytest.mark.parametrize("line", ["--version", "upscale --version"])
def test_version(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 0
    assert capsys.readouterr().out.startswith("ccsr 0")


def test_an_unexpected_failure_is_one_line_and_a_traceback_only_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("ccsr.cli.main.commands_of", fail)
    assert main(["upscale", "a.png"]) == 2
    assert capsys.readouterr().err == ("error: unexpected RuntimeError: two lines (-v shows where it comes from)\n")
    with pytest.raises(RuntimeError):
        main(["upscale", "a.png", "-v"])


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["upscale", "--help"],
        ["evaluate", "--help-all"],
        ["models", "list"],
        ["completion", "bash"],
        ["upscale", "a.png", "-s", "9"],
    ],
)
def test_quick_answers_load_no_heavy_library(line: list[str]) -> None:
    code = (
        "import sys; from ccsr.cli.main import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'diffusers', 'numpy', 'pyvips', 'PIL', 'tqdm'} & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "[]"


def test_the_module_runs_as_a_program() -> None:
    ended = subprocess.run([sys.executable, "-m", "ccsr", "upscale"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_line_and_its_end_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    class Output(StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    written: list[str] = []
    monkeypatch.setattr(sys, "stderr", Output())
    terminal.say("done: a.png")
    terminal.put('{"status": "done"}', Output())
    assert written == ["done: a.png\n", '{"status": "done"}\n']

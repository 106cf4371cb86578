"""Help texts: what a photographer sees, that everything is in the whole help, and that all of it fits a terminal."""

import re
from collections.abc import Iterator

import pytest

from ccsr.cli.main import COMMANDS, commands_of, main
from ccsr.options import GROUPS, UpscaleOptions, options_of

FOR_PHOTOGRAPHERS = {
    "--scale", "--width", "--height", "--megapixels", "--print", "--dpi", "--blend", "--consistency", "--mask",
    "--steps", "--samples", "--format", "--quality", "--model",
}  # fmt: skip
OF_THE_COMMAND = {"--help", "--help-all", "--output", "--overwrite", "--dry-run"}
SHOWN = [o for o in options_of(UpscaleOptions, "cli") if not o.hidden]


def every_command() -> Iterator[str]:
    for module in COMMANDS:
        yield from commands_of(module)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def printed(capsys: pytest.CaptureFixture[str], line: str) -> str:
    assert main(line.split()) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def flags(text: str) -> set[str]:
    """The options that a help text has a line for."""
    return set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE))


def test_the_short_help_is_what_a_photographer_needs(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "upscale --help")
    assert flags(text) == FOR_PHOTOGRAPHERS | OF_THE_COMMAND
    assert len(text.splitlines()) <= 45
    assert text == printed(capsys, "upscale -h")


@pytest.mark.parametrize(
    "word",
    ["T", "t_max", "t-max", "chain", "ablation", "V1", "receptive", "compat", "tile", "VAE", "denoiser", "latent",
     "timesteps", "guidance", "network", "bytes", "stdout", "lq", "sr", "ground truth", "evaluations", "metrics"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["upscale", "samples"])
def test_words_of_the_method_stay_out_of_the_short_help(
    command: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not re.search(rf"\b{word}\b", printed(capsys, f"{command} --help"))


def test_the_whole_help_has_every_option_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "upscale --help-all")
    assert flags(text) == {o.flag for o in SHOWN} | OF_THE_COMMAND | {"--json", "--quiet", "--verbose", "--no-progress"}
    for group, heading in GROUPS.items():
        (section,) = re.findall(rf"^{re.escape(heading)}:\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
        assert flags(section) == {o.flag for o in SHOWN if o.group == group}
    headings = re.findall(r"^(\w[^\n]*):$", text, re.MULTILINE)
    assert headings[-len(GROUPS) :] == list(GROUPS.values())


def test_what_is_for_comparisons_is_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "upscale --help-all")
    for hidden in ("--tile_diffusion", "--start-point", "--min-size", "--num_inference_steps"):
        assert hidden not in text


def test_samples_are_asked_for_by_n(capsys: pytest.CaptureFixture[str]) -> None:
    short, whole = printed(capsys, "samples --help"), printed(capsys, "samples --help-all")
    assert flags(short) == (FOR_PHOTOGRAPHERS | OF_THE_COMMAND) - {"--samples"}
    assert flags(printed(capsys, "upscale --help-all")) - flags(whole) == {"--samples", "--stability-map"}
    assert all("\n  -n N " in text for text in (short, whole))
    parsed = commands_of("samples")["samples"].parser().parse(["a.png", "--samples", "3"])
    assert parsed.samples == "3", "an old command line works as it stands"


@pytest.mark.parametrize(("command", "most"), [("evaluate", 45), ("bench", 25)])
def test_commands_that_also_upscale_keep_those_options_apart(
    command: str, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    short, whole = printed(capsys, f"{command} --help"), printed(capsys, f"{command} --help-all")
    ours = {o.flag for o in SHOWN}
    assert not flags(short) & ours
    assert flags(whole) == flags(short) | ours
    assert len(short.splitlines()) <= most


@pytest.mark.parametrize("how", ["--help", "--help-all"])
def test_every_help_fits_a_terminal(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ["", *COMMANDS, *every_command()]:
        text = printed(capsys, f"{command} {how}")
        assert text.startswith("usage: ccsr")
        assert max(map(len, text.splitlines())) <= 80, command


def test_a_command_without_more_to_show_has_one_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "serve --help-all") == printed(capsys, "serve --help")
    assert "--help-all" not in printed(capsys, "serve --help")

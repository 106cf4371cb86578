"""What a configuration may say, and what is told about one that is wrong."""

import re
from pathlib import Path

import pytest

from ccsr.compare.config import load_config
from ccsr.compare.methods import KINDS
from ccsr.compare.methods.command import ExternalProgram
from ccsr.compare.methods.folder import Folder
from ccsr.errors import CCSRError
from helpers import write_picture


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a test set of one picture, called set/."""
    write_picture(tmp_path / "set" / "LR" / "a.png")
    write_picture(tmp_path / "set" / "HR" / "a.png", 48, 32)
    return tmp_path


def written(home: Path, text: str) -> Path:
    path = home / "compare.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_seen_from_the_file(home: Path) -> None:
    path = written(home, "data: set\noutput: out\nmethods: [{kind: folder, path: sr, name: A}, {kind: bicubic}]")
    config = load_config(path)
    assert config.folders == (home / "set" / "LR", home / "set" / "HR")
    assert config.output == home / "out"
    assert config.methods[0] == Folder(name="A", path=home / "sr")
    assert config.methods[1].name == "bicubic"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a", "holds no settings (data: FOLDER, then methods:)"),
        ("data: set", "names no methods (methods: a list, each with a name and a kind)"),
        ("data: set\nmethods: [bicubic]", "a method is no mapping with a kind: 'bicubic' (kind: "),
        ("data: set\nmethods: [{kind: bicubik}]", "no kind of method is called 'bicubik', did you mean bicubic? ("),
        (
            "data: set\nmethods: [{kind: bicubic, step: 1}]",
            "no setting of kind bicubic is called step, did you mean steps?",
        ),
        ("data: set\nsample: 2\nmethods: [{kind: bicubic}]", "no setting is called sample, did you mean samples? ("),
        (
            "data: set\nsamples: two\nmethods: [{kind: bicubic}]",
            "samples is 'two' (that is another kind of value than ",
        ),
        ("data: set\nsamples: 0\nmethods: [{kind: bicubic}]", "samples is 0 (choose 1 or more)"),
        ("data: set\nmethods: [{kind: bicubic}, {kind: bicubic}]", "two methods are called bicubic ("),
        ("data: set\nmethods: [{kind: ncnn}]", "ncnn lacks param"),
        (
            "data: set\npreset: x\nmethods: [{kind: bicubic}]",
            "preset is 'x' (choose from ccsr, osediff, seesr, stablesr)",
        ),
        ("data: set\nmetrics: [psnt]\nmethods: [{kind: bicubic}]", "no metric is called 'psnt' (did you mean psnr?)"),
        ("methods: [{kind: bicubic}]", "no test set is named (data: FOLDER, or lq: FOLDER and gt: FOLDER)"),
        ("data: set\nmethods: [{kind: ccsr, options: {stepps: 1}}]", "stepps"),
        ("data: set\nmethods: [{kind: ccsr, options: {samples: 1}}]", "samples is no option of a method ("),
        ("data: set\nmethods: [{kind: command, command: 'p {lr}', name: P}]", "P: the command has no {out} ("),
        (
            "data: set\nmethods: [{kind: command, command: 'p {lr} {out} {x}', name: P}]",
            "P: {x} is no field of a command (",
        ),
        (
            "data: set\nmethods: [{kind: command, command: 'p {lr} {out} {steps}', name: P}]",
            "P: the command has {steps}, ",
        ),
        ("data: set\nmethods: [{kind: paper, name: P}]", "P has no row (paper: CCSR-S1)"),
        ("data: set\nmethods: [{kind: bicubic, paper: CCSR-S1}]", "bicubic names a row of the paper (add dataset: "),
        (
            "data: set\ndataset: RealSR\nmethods: [{kind: bicubic, paper: CCSR-S9}]",
            "the paper's tables have no row 'CCSR-S9' for RealSR (II: T=18",
        ),
        ("a: [", "is no YAML: "),
    ],
)
def test_mistakes_are_told_in_one_line(home: Path, text: str, told: str) -> None:
    path = written(home, text)
    with pytest.raises(CCSRError) as caught:
        load_config(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert told in line
    assert "\n" not in line


def test_pickles_are_asked_for_on_purpose(home: Path) -> None:
    text = "data: set\nmethods: [{kind: spandrel, weights: net.pth, python: py}]"
    with pytest.raises(CCSRError, match=r"net.pth: is a pickle file, which can hold more than weights \(allow_pickle"):
        load_config(written(home, text))
    assert load_config(written(home, text.replace("python: py", "python: py, allow_pickle: true"))).methods


@pytest.mark.parametrize(
    ("command", "runs"), [("p {lr} {out}", 1), ("p {lr} {out} {seed}", 4), ("p {lr} {out} {samples}", 4)]
)
def test_a_command_without_a_seed_runs_once(command: str, runs: int) -> None:
    assert ExternalProgram(name="p", command=command).runs(4) == runs


def test_the_example_of_the_documentation_is_read(home: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(example.splitlines()) <= 10
    config = load_config(written(home, example.replace("data: realsr ", "data: set ")))
    assert [method.name for method in config.methods] == ["bicubic", "nano S1", "mine"]
    assert config.samples == 10
    for kind in KINDS:
        assert re.search(rf"(?m)^\| .*`{kind}`", page), kind

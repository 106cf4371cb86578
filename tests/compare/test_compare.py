"""`ccsr compare` as people meet it: a configuration in, tables and a report out."""

import csv
import json
import re
from contextlib import chdir, redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from ccsr.cli.main import main
from ccsr.metrics import consistency, psnr
from ccsr.stability import gstd
from helpers import write_picture

from .conftest import write_test_set

CONFIG = """
title: Three pictures
data: set
dataset: RealSR
preset: osediff
metrics: [psnr, ssim, l1, consistency]
samples: 2
seed: 7
threads: 1
panels: 2
output: out
methods:
  - {{name: tiny S1, kind: ccsr, model: {tiny}, options: {{steps: 1}}, paper: CCSR-S1}}
  - {{name: bicubic, kind: bicubic}}
  - {{name: lanczos, kind: lanczos}}
  - {{name: finished, kind: folder, path: finished, steps: 4, source: made by hand}}
  - {{name: broken, kind: ncnn, param: nothing.param}}
  - {{name: SeeSR, kind: paper, paper: SeeSR-S3}}
"""


def write_home(home: Path, tiny: str) -> Path:
    """The folder that a person stands in: a test set, finished results of two of its pictures, a configuration."""
    write_test_set(home / "set")
    for run in range(2):
        for name in ("a", "b"):
            write_picture(home / "finished" / f"sample{run:02d}" / f"{name}_x4.png", 48, 32, seed=10 + run)
    (home / "compare.yaml").write_text(CONFIG.format(tiny=tiny), encoding="utf-8")
    return home


@pytest.fixture
def home(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_home(tmp_path, tiny)


class Done(NamedTuple):
    """A comparison that was made once, for all tests that look at what comes of it."""

    home: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Done:
    home, out, err = write_home(tmp_path_factory.mktemp("compared"), tiny), StringIO(), StringIO()
    with chdir(home), redirect_stdout(out), redirect_stderr(err):
        code = compared()
    return Done(home, code, out.getvalue(), err.getvalue())


def compared(*words: str) -> int:
    return main(["compare", "--config", "compare.yaml", *words])


class _Page(HTMLParser):
    """Addresses that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_from_configuration_to_report(done: Done) -> None:
    home, code, out, err = done
    assert code == 1  # one method is broken
    assert "error: broken: nothing.param: there is no such file" in err.replace(f"{home}/", "")
    assert "finished[" in out
    assert "2 of 3" in out
    report = json.loads((home / "out" / "comparison.json").read_text())
    methods = {method["name"]: method for method in report["methods"]}
    assert report["common"] == ["a", "b"]

    # Scores are those of the files on disk.
    gt = {name: np.asarray(Image.open(home / "set" / "HR" / f"{name}.png")) for name in "abc"}
    finished = np.array(
        [
            [psnr(np.asarray(Image.open(home / f"finished/sample0{run}/{name}_x4.png")), gt[name]) for run in range(2)]
            for name in "ab"
        ]
    )
    assert methods["finished"]["metrics"]["psnr"] == pytest.approx({"mean": finished.mean(), "gstd": gstd(finished)})
    bicubic = [
        psnr(
            np.asarray(Image.open(home / f"set/LR/{n}.webp").convert("RGB").resize((48, 32), Image.Resampling.BICUBIC)),
            gt[n],
        )
        for n in "abc"
    ]
    assert methods["bicubic"]["metrics"]["psnr"] == pytest.approx({"mean": np.mean(bicubic), "gstd": None})
    assert methods["bicubic"]["metrics_on_common"]["psnr"]["mean"] == pytest.approx(np.mean(bicubic[:2]))
    lanczos = np.asarray(Image.open(home / "out/methods/lanczos/results/a.png"))
    wanted = Image.open(home / "set/LR/a.webp").convert("RGB").resize((48, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(lanczos, np.asarray(wanted))

    # Reduced to its input's size, what was enlarged is nearly that again.
    lq = np.asarray(Image.open(home / "out/inputs/a.png"))
    assert methods["lanczos"]["per_image"]["a"]["consistency"] == pytest.approx([consistency(lanczos, lq)])

    ours = methods["tiny S1"]
    assert (ours["runs"], ours["steps"], ours["pictures"]) == (2, 1, 3)
    assert ours["parameters"] > 1000
    assert ours["seconds"]["each"] > 0
    assert ours["seconds"]["load"] > 0
    assert ours["metrics"]["lstd"]["mean"] == pytest.approx(np.mean([ours["per_image"][n]["lstd"] for n in "abc"]))
    assert ours["paper"]["values"]["PSNR"] == {"mean": 25.97, "gstd": 0.1976, "note": None}
    assert methods["broken"]["metrics"]["psnr"] is None
    # The worker's memory is its own, not what this process holds.
    if methods["bicubic"]["peak_bytes"] is not None:
        assert 5e6 < methods["bicubic"]["peak_bytes"] < 100e6


def test_forms_agree(done: Done) -> None:
    home = done.home
    markdown = (home / "out" / "table.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "| *paper, Table V: CCSR-S1* | 100 | 10 | 1 | not available | 25.97 / 0.1976 |" in markdown
    assert "| *SeeSR, paper, Table V: SeeSR-S3* | 100 | 10 | 3 |" in markdown
    assert re.search(r"- \[\d] weights of sha256 [0-9a-f]{12}\n", markdown)
    assert "- broken: " in markdown
    with (home / "out" / "table.csv").open(encoding="utf-8") as lines:
        written = list(csv.DictReader(lines))
    report = json.loads((home / "out" / "comparison.json").read_text())
    means = {m["name"]: m["metrics"]["psnr"]["mean"] for m in report["methods"] if m["metrics"]["psnr"]}
    column = "PSNR ↑ / G-STD"
    whole = {row["method"]: row for row in written if row["table"].startswith("All") and row["kind"] == "measured"}
    assert whole["bicubic"][column] == f"{means['bicubic']:.2f}"
    # The best of those with all pictures is marked; one that lacks some is not ranked among them.
    complete = sorted((name for name in means if name != "finished"), key=lambda name: -means[name])
    assert whole[complete[0]][f"rank of {column}"] == "1"
    assert whole[complete[1]][f"rank of {column}"] == "2"
    assert whole["finished"][f"rank of {column}"] == ""
    common = {row["method"]: row for row in written if row["table"].startswith("The 2 pictures")}
    assert set(common) == {"tiny S1", "bicubic", "lanczos", "finished"}
    assert {row["pictures"] for row in common.values()} == {"2"}
    latex = (home / "out" / "table.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert rf"\textbf{{{means[complete[0]]:.2f}" in latex
    assert not re.search(r"(?<!\\)[%&#_](?!.*\\\\)", "".join(x for x in latex.splitlines() if x.startswith("bicubic")))


def test_the_report_asks_the_network_for_nothing(done: Done) -> None:
    text = (done.home / "out" / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    addresses = [attrs[key] for _, attrs in page.tags for key in ("src", "href") if attrs.get(key)]
    assert addresses
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert not [tag for tag, _ in page.tags if tag == "link"]
    titles = [attrs["data-title"] for _, attrs in page.tags if "data-title" in attrs]
    sheet = ["LR", "tiny S1, best", "tiny S1, worst", "bicubic", "lanczos", "finished, best", "finished, worst", "GT"]
    assert titles == sheet * 2
    assert sum(tag == "svg" for tag, _ in page.tags) >= 1
    assert text.count("stability map of") == 4


def test_what_is_done_is_not_done_again(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    home = done.home
    monkeypatch.chdir(home)
    dates = {path: path.stat().st_mtime_ns for path in (home / "out" / "methods").rglob("*.png")}
    cost = json.loads((home / "out" / "comparison.json").read_text())["methods"][0]["seconds"]
    # A picture of each is lost, as if the first call had been stopped.
    lost = [home / "out/methods/bicubic/results/b.png", home / "out/methods/lanczos/results/a.png"]
    for path in lost:
        path.unlink()
    compared("-q")
    again = {path: path.stat().st_mtime_ns for path in (home / "out" / "methods").rglob("*.png")}
    assert {path for path in dates if dates[path] != again[path]} == set(lost)
    assert json.loads((home / "out" / "comparison.json").read_text())["methods"][0]["seconds"] == cost


def test_a_changed_input_and_a_changed_setting_are_done_again(home: Path) -> None:
    assert compared("-q", "--only", "bicubic,tiny S1", "--no-report") == 0
    results = home / "out" / "methods" / "bicubic" / "results"
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    write_picture(home / "set" / "LR" / "b.webp", seed=99, lossless=True)
    assert compared("-q", "--only", "bicubic", "--no-report") == 0
    after = {path.name: path.read_bytes() for path in results.iterdir()}
    assert [name for name in sorted(before) if before[name] != after[name]] == ["b.png"]
    config = home / "compare.yaml"
    config.write_text(config.read_text().replace("steps: 1", "steps: 2"))
    assert compared("-q", "--only", "tiny S1", "--no-report") == 0
    assert json.loads((home / "out" / "comparison.json").read_text())["methods"][0]["steps"] == 2


def test_the_table_goes_into_a_page(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = home / "page.md"
    page.write_text("# Ours\n\n<!-- ccsr compare: begin -->\nstale words\n<!-- ccsr compare: end -->\n\nThe end.\n")
    assert compared("-q", "--only", "bicubic", "--limit", "1", "--no-report", "--into", "page.md") == 0
    text = page.read_text()
    assert text.startswith("# Ours\n")
    assert text.endswith("<!-- ccsr compare: end -->\n\nThe end.\n")
    assert "stale words" not in text
    assert "| bicubic | 1 | 1 |" in text
    (home / "empty.md").write_text("nothing")
    assert compared("-q", "--only", "bicubic", "--limit", "1", "--no-report", "--into", "empty.md") == 2
    assert "error: empty.md: has no place for a table" in capsys.readouterr().err


def test_what_cannot_be_measured_is_not_available(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CCSR_METRIC_WEIGHTS", raising=False)
    config = home / "compare.yaml"
    config.write_text(config.read_text().replace("[psnr, ssim, l1, consistency]", "[psnr, lpips]"))
    assert compared("-q", "--only", "bicubic,SeeSR", "--no-report") == 0
    text = (home / "out" / "table.md").read_text()
    (bicubic,) = [line for line in text.splitlines() if line.startswith("| bicubic |")]
    assert "| not available [1] |" in bicubic
    assert "- [1] LPIPS: " in text
    (printed,) = [line for line in text.splitlines() if "Table V: SeeSR-S3" in line]
    assert "| 0.3782 / 0.0263 |" in printed


def test_a_metric_that_no_line_has_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CCSR_METRIC_WEIGHTS", raising=False)
    config = home / "compare.yaml"
    config.write_text(config.read_text().replace("[psnr, ssim, l1, consistency]", "[psnr, lpips, dists]"))
    assert compared("-q", "--only", "bicubic", "--limit", "1") == 0
    for name in ("table.md", "table.csv", "table.tex"):
        text = (home / "out" / name).read_text()
        said = [line for line in text.splitlines() if "No line has LPIPS, DISTS; ccsr evaluate --check" in line]
        assert len(said) == (name != "table.csv")
        assert "PSNR" in text
        assert text.count("LPIPS") == len(said)
    assert "No line has LPIPS, DISTS" in (home / "out" / "report.html").read_text()


def test_pictures_that_are_not_there_are_told_with_their_source(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = home / "compare.yaml"
    config.write_text(config.read_text().replace("data: set", "data: gone\ndata_source: ask the library"))
    assert compared("-q") == 2
    assert "gone: is not there (ask the library)" in capsys.readouterr().err


def test_the_example_needs_nothing_but_the_checkout(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "compare.yaml"
    out = tmp_path / "made"
    assert main(["compare", "--config", str(example), "-o", str(out), "-q", "--only", "bicubic,Lanczos"]) == 0
    rows = json.loads((out / "comparison.json").read_text())["methods"]
    assert [row["name"] for row in rows] == ["bicubic", "Lanczos"]
    assert all(row["pictures"] == 4 for row in rows)


def test_latex_commands_are_kept_out_of_names() -> None:
    from ccsr.compare import formats
    from ccsr.compare.table import Cell, Table, TableLine

    table = Table("50% of A_B", ["PSNR ↑"], [TableLine("a\\b{c}", "measured", [Cell("< 1", 1.0, 2, (3,))])], [])
    text = formats.latex([table], [])
    assert r"\caption{50\% of A\_B}" in text
    assert r"a\textbackslash{}b\{c\} & \underline{$<$ 1}\textsuperscript{3} \\" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no configuration is given (ccsr compare --config compare.yaml)"),
        (["--config", "absent.yaml"], "absent.yaml: cannot be read: No such file or directory"),
        (["--config", "compare.yaml", "--only", "bicubik"], "no method is called bicubik (there are tiny S1, bicubic"),
        (["--config", "compare.yaml", "--limit", "x"], "--limit is 'x' (expected a whole number from 1)"),
    ],
)
def test_wrong_usage(home: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(["compare", *words]) == 2
    assert f"error: {told}" in capsys.readouterr().err

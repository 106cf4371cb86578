"""The ablations' page: measured on small pictures with small networks, kept, gone on with, and written again."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from ccsr import CCSRPipeline
from helpers import write_picture

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import reproduce  # noqa: E402
from reproduction import claims, figures, measure, sections, verdicts  # noqa: E402
from reproduction.networks import SHIPPED, Shelf, take  # noqa: E402
from reproduction.page import write_page  # noqa: E402

STORED = ROOT / "docs" / "reproduction"
WIDTH, HEIGHT = 208, 104
"""NIQE wants two blocks of 96 pixels within the border."""


@pytest.fixture(scope="module")
def runs(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders with a finished model each: as if configs/ablation had been run on tiny networks."""
    folder = tmp_path_factory.mktemp("runs")
    for number, name in enumerate(SHIPPED):
        pipe = CCSRPipeline.from_pretrained(tiny)
        generator = torch.Generator().manual_seed(number)
        changed = {"full": [pipe.vae.decoder]}.get(name, [pipe.unet])
        for p in (p for module in changed for p in module.parameters()):
            p.data += 0.02 * number * torch.randn(p.shape, generator=generator)
        pipe.save_pretrained(folder / name / "model")
    return folder


@pytest.fixture(scope="module")
def ablation(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    assert len(list(take(runs, folder))) == len(SHIPPED)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        for kind, factor in (("LR", 4), ("HR", 1)):
            path = folder / "benchmark" / "realsr" / f"test_{kind}" / f"{number}.png"
            write_picture(path, WIDTH // factor, HEIGHT // factor, number)
        write_picture(folder / "cid22_validation" / f"v{number}.webp", WIDTH, HEIGHT, 10 + number, lossless=True)
    (folder / "cid22_validation" / "SOURCES.csv").write_text("file\n")
    return folder


@pytest.fixture
def command(ablation: Path, data: Path, tmp_path: Path) -> list[str]:
    places = {"data": data, "ablation": ablation, "work": tmp_path / "work", "results": tmp_path / "kept"}
    places["page"] = tmp_path / "page.md"
    return ["--seeds", "2", "--images", "2", *(w for name, at in places.items() for w in (f"--{name}", str(at)))]


def test_networks_are_whole_again(ablation: Path, runs: Path, tmp_path: Path) -> None:
    assert not (ablation / "full" / "unet" / "diffusion_pytorch_model.safetensors").exists()
    assert not (ablation / "v1" / "vae").exists()
    shelf = Shelf(ablation, tmp_path)
    for name in SHIPPED:
        network = shelf.find(name)
        assert network is not None
        files = {p.relative_to(runs / name / "model") for p in (runs / name / "model").rglob("*") if p.is_file()}
        for file in files:
            assert (network.folder / file).read_bytes() == (runs / name / "model" / file).read_bytes()
        CCSRPipeline.from_pretrained(str(network.folder))
    assert shelf.find("twin") is None


def test_a_table_is_measured_kept_and_not_measured_again(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce.main([*command, "--only", "table1"])
    page = (tmp_path / "page.md").read_text()
    record = json.loads((tmp_path / "kept" / "v1.realsr.json").read_text())
    assert record["timesteps"] == [999, 500]
    assert record["request"]["pictures"] == ["0", "1"]
    assert f"| 999 500 | {record['scores']['psnr']['mean']:.2f} (" in page
    assert record["lstd"] > 0
    assert record["lstd"] == pytest.approx(sum(record["lstd_of_picture"]) / 2, abs=1e-6)
    assert json.loads((tmp_path / "kept" / "full.medium.json").read_text())["timesteps"] == [999, 499]
    assert len(json.loads((tmp_path / "kept" / "full.medium.json").read_text())["request"]["pictures"]) == 1

    def refuse(self: measure.Upscaler, path: Path, sample: int) -> None:
        raise AssertionError(f"computed again: {path}")

    kept = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(measure.Upscaler, "__call__", refuse)
        reproduce.main([*command, "--only", "table1"])
        reproduce.main([*command, "--render"])
        with pytest.raises(AssertionError, match="computed again"):
            reproduce.main([*command, "--seeds", "3", "--only", "table1"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()} == kept
    assert (tmp_path / "page.md").read_text() == page


def test_an_interrupted_measurement_goes_on(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*command, "--only", "twins"]  # of which V2 alone is in hand
    reproduce.main(words)
    kept = tmp_path / "kept" / "v2.realsr.json"
    before = json.loads(kept.read_text())
    kept.unlink()
    home = next((tmp_path / "work" / "results").glob("v2-*")) / "realsr-2"
    (home / "sample01" / "1.png").unlink()
    asked = []
    whole = measure.Upscaler.__call__

    def counted(self: measure.Upscaler, path: Path, sample: int) -> list:
        asked.append((path.stem, sample))
        return whole(self, path, sample)

    monkeypatch.setattr(measure.Upscaler, "__call__", counted)
    reproduce.main(words)
    assert asked == [("1", 1)]
    assert json.loads(kept.read_text()) == before
    assert not (tmp_path / "kept" / "twin.realsr.json").exists()


def test_figures(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIG2_STEPS", 4)
    monkeypatch.setattr(figures, "SIDE", 64)
    monkeypatch.setitem(sections.FIG2, "v1", ("v1", {"sampling": "uniform", "steps": 4}))
    reproduce.main([*command, "--only", "fig2", "--only", "panels"])
    record = json.loads((tmp_path / "kept" / "fig2.medium.json").read_text())
    steps = record["steps"]["v1"]
    assert steps["timesteps"] == [999, 749, 500, 250]
    assert [len(of_picture) for of_picture in steps["of_picture"]] == [4]
    assert len(record["steps"]["l1"]["of_picture"][0]) == 1
    light, heavy = (json.loads((tmp_path / "kept" / f"fig2.{x}.json").read_text()) for x in ("light", "heavy"))
    assert len(heavy["steps"]["v1"]["of_picture"][0]) == 1
    for better, worse in zip(light["bicubic"], heavy["bicubic"], strict=True):
        assert better["psnr"] > worse["psnr"]
    svg = (tmp_path / "kept" / "fig2-psnr.svg").read_text()
    assert svg.count("<circle") == 6
    assert "xmlns" in svg
    assert (tmp_path / "kept" / "fig4.webp").stat().st_size > 1000
    assert "V1 minus that of L1 + GAN: light" in (tmp_path / "page.md").read_text()


def _record(values: dict[str, list[float]]) -> dict:
    scores = {name: {"of_picture": v, "gstd_of_picture": v, "mean": sum(v) / len(v)} for name, v in values.items()}
    return {"scores": scores, "lstd_of_picture": next(iter(values.values()))}


def test_a_difference_is_held_against_its_error() -> None:
    found = verdicts.difference([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 2.0])
    assert found.mean == pytest.approx(1.25)
    assert found.error == pytest.approx(2 * 0.5 / 2)  # deviations -0.25 three times and 0.75: a spread of 0.5
    assert found.is_clear
    assert not verdicts.difference([1.0, -1.0], [0.0, 0.0]).is_clear
    assert not verdicts.difference([9.0], [0.0]).is_clear
    with pytest.raises(ValueError, match="pictures"):
        verdicts.difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("quantity", "claim", "outcome"),
    [
        ("psnr", "better", "holds"), ("psnr", "worse", "contrary"), ("niqe", "better", "contrary"),
        ("niqe", "worse", "holds"), ("gstd psnr", "worse", "holds"), ("lstd", "better", "contrary"),
    ],
)  # fmt: skip
def test_checks_know_which_way_is_better(quantity: str, claim: str, outcome: str) -> None:
    high, low = (_record({"psnr": [x, x + 1, x + 2], "niqe": [x, x + 1, x + 2]}) for x in (5.0, 4.0))
    assert verdicts.check(high, low, quantity, claim).outcome == outcome  # type: ignore[arg-type]
    assert verdicts.check(high, high, quantity, claim).outcome == "within noise"  # type: ignore[arg-type]


def test_verdicts() -> None:
    def of(*outcomes: str) -> str:
        found = verdicts.Difference(1.0, 0.5)
        return verdicts.verdict([verdicts.Check("psnr", outcome, found) for outcome in outcomes])  # type: ignore[arg-type]

    assert of("holds", "holds") == "holds"
    assert of("within noise") == "within noise"
    assert of("contrary", "contrary") == "does not hold"
    assert of("contrary", "within noise").startswith("does not hold (1 of 2")
    assert of("holds", "contrary", "within noise") == (
        "holds in part (1 of 3 as claimed, 1 the contrary, 1 within noise)"
    )


@pytest.mark.parametrize(
    ("psnr", "niqe", "right"),
    [(25.0, 6.0, True), (24.91, 6.11, True), (24.89, 6.0, False), (25.0, 6.13, False), (27.0, 5.0, True)],
)
def test_the_rule_of_the_twins(psnr: float, niqe: float, right: bool) -> None:
    free, every = _record({"psnr": [psnr], "niqe": [niqe]}), _record({"psnr": [25.0], "niqe": [6.0]})
    assert verdicts.twin_verdict(free, every)[0] is right


def test_a_gap_that_grows() -> None:
    gap = verdicts.Difference
    assert claims.grows([gap(0.1, 0.05), gap(0.2, 0.05), gap(0.5, 0.1)]) == "holds"
    assert claims.grows([gap(-0.5, 0.05), gap(0.1, 0.05)]) == "does not hold"
    assert claims.grows([gap(0.1, 0.3), gap(0.2, 0.3)]) == "within noise"


def test_claims_name_systems_that_are_measured() -> None:
    known = {s.name for table in (sections.TABLE1, sections.TABLE2, sections.TABLE3, sections.TABLE5) for s in table}
    assert {name for claim in claims.CLAIMS for part in claim.parts for name in (part.first, part.second)} <= known


def test_the_page_is_what_its_records_say(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "reproduction")
    write_page(tmp_path / "page.md", tmp_path / "reproduction")
    assert (tmp_path / "page.md").read_text() == STORED.with_suffix(".md").read_text()
    for chart in STORED.glob("*.svg"):
        assert (tmp_path / "reproduction" / chart.name).read_text() == chart.read_text()

"""The ablations: networks trained and packed, measured on small pictures, kept, gone on with, and the page written."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from ccsr import CCSRPipeline
from ccsr.training.config import resolve
from ccsr.training.yaml_config import as_yaml, read_settings
from ccsr.weights import describe
from helpers import write_picture

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import ablation as trainer  # noqa: E402
import reproduce  # noqa: E402
from reproduction import claims, figures, measure, page, sections, verdicts  # noqa: E402
from reproduction.networks import RECIPES, Shelf, pack  # noqa: E402
from reproduction.page import write_page  # noqa: E402

STORED = ROOT / "docs" / "reproduction"
WIDTH, HEIGHT = 208, 104
"""NIQE wants two blocks of 96 pixels within the border."""


@pytest.fixture(scope="module")
def runs(tiny_compact: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders with a finished model each: as if benchmarks/ablation.py had been run on tiny networks."""
    folder = tmp_path_factory.mktemp("runs")
    for number, (name, recipe) in enumerate(RECIPES.items()):
        pipe = CCSRPipeline.from_pretrained(tiny_compact)
        generator = torch.Generator().manual_seed(number)
        changed = {"full": [pipe.vae.decoder]}.get(name, [pipe.unet])
        for p in (p for module in changed for p in module.parameters()):
            p.data += 0.02 * (name != "v2") * torch.randn(p.shape, generator=generator)
        run = folder / name
        pipe.save_pretrained(run / "model")
        config = resolve(recipe.stage, read_settings(ROOT / recipe.config, recipe.words))
        (run / "config.yaml").write_text(as_yaml(config))
        (run / "log.jsonl").write_text('{"step": 50, "seconds": 60.0}\n{"step": 100, "seconds": 120.0}\n')
        (run / "cpu.json").write_text('{"seconds": 90.0}')
    return folder


@pytest.fixture(scope="module")
def ablation(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    (folder / "ablation" / "gone").mkdir(parents=True)
    assert len(list(pack(runs, folder / "ablation", folder / "records"))) == len(RECIPES)
    return folder / "ablation"


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
    words = ["--images", "2", "--stable-images", "1", "--stable-runs", "3", "--level-images", "2"]
    return [*words, *(w for name, at in places.items() for w in (f"--{name}", str(at)))]


def test_networks_are_whole_again(ablation: Path, runs: Path, tmp_path: Path) -> None:
    assert {path.name for path in ablation.iterdir()} == {*RECIPES, "README.md"}
    assert not (ablation / "full" / "unet" / "diffusion_pytorch_model.safetensors").exists()
    assert not (ablation / "v1" / "vae").exists()
    shelf = Shelf(ablation, tmp_path)
    for name in RECIPES:
        network = shelf.find(name)
        assert network is not None
        files = {p.relative_to(runs / name / "model") for p in (runs / name / "model").rglob("*") if p.is_file()}
        for file in files:
            assert (network.folder / file).read_bytes() == (runs / name / "model" / file).read_bytes()
        CCSRPipeline.from_pretrained(str(network.folder))
    assert shelf.find("other") is None
    budget = json.loads((ablation.parent / "records" / "training.json").read_text())["networks"]
    assert list(budget) == list(RECIPES)
    assert (budget["twin"]["cpu_minutes"], budget["twin"]["minutes"]) == (1.5, 2.0)
    assert budget["full"]["learns"] == "decoder"


def test_what_is_not_finished_replaces_nothing(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "l1" / "model")
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "old").touch()
    with pytest.raises(FileNotFoundError):
        list(pack(tmp_path / "runs", tmp_path / "ablation", tmp_path))
    assert (tmp_path / "ablation" / "old").exists()


def test_all_networks_are_trained_in_order_and_one_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step each of the real size, from nothing; called again, nothing is trained anew."""
    for number in range(20):
        write_picture(tmp_path / "photos" / f"p{number:02d}.png", 48, 40, number)
    words = [f"data.sources={tmp_path / 'photos'}", "data.crop=32", "data.region=32", "data.per_region=1"]
    words += ["data.batch=2", "data.workers=0", "data.cache=false", "loop.steps=1", "loop.warmup=0"]
    words += ["loop.precision=fp32", "loop.log_every=1", "--runs", str(tmp_path / "runs")]
    words += ["--pack", str(tmp_path / "ablation"), "--records", str(tmp_path)]
    assert trainer.main(words) == 0
    halves = [(tmp_path / "runs" / f"pictures{end}.txt").read_text().split() for end in ("", "-twin")]
    assert [Path(p).stem[1:] for p in halves[1]] == [f"{n:02d}" for n in range(8, 16)]
    assert len({*halves[0], *halves[1]}) == 20
    shelf = Shelf(tmp_path / "ablation", tmp_path / "whole")
    for name in RECIPES:
        network = shelf.find(name)
        assert network is not None
        facts = describe(network.folder)
        assert sum(facts.parameters.values()) <= 1_500_000
        assert facts.color_fix == "adain"
    size = sum(f.stat().st_size for f in (tmp_path / "ablation").rglob("*") if f.is_file())
    assert size < 20e6
    twin, v2 = (read_settings(tmp_path / "runs" / name / "config.yaml") for name in ("twin", "v2"))
    assert twin["data"]["sources"] != v2["data"]["sources"]
    assert twin["model"]["base"] == v2["model"]["base"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    before = (tmp_path / "ablation" / "v2" / "manifest.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("ccsr.training.run.fit", refuse)
        assert trainer.main(words) == 0
    assert (tmp_path / "ablation" / "v2" / "manifest.json").read_bytes() == before

    # One anew, elsewhere: its base is the packed one, and the others stay.
    def marks() -> dict[str, str]:
        return {name: network.fingerprint for name in RECIPES if (network := shelf.find(name))}

    old, budget = marks(), json.loads((tmp_path / "training.json").read_text())["networks"]
    shutil.rmtree(tmp_path / "runs")
    assert trainer.main(["loop.steps=2" if w == "loop.steps=1" else w for w in words] + ["--only", "full"]) == 0
    assert {name for name, mark in marks().items() if mark != old[name]} == {"full"}
    anew = json.loads((tmp_path / "training.json").read_text())["networks"]
    assert [*anew] == [*RECIPES]
    assert {name for name in RECIPES if anew[name] != budget[name]} >= {"full"}
    assert anew["full"]["steps"] == 2
    network = shelf.find("full")
    assert network is not None
    assert f"from v2 (sha256 {describe(tmp_path / 'ablation' / 'v2').sha256[:12]})" in describe(network.folder).source


def test_a_stop_ends_the_whole_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "photos" / "a.png", 48, 40)
    write_picture(tmp_path / "photos" / "b.png", 48, 40, 1)
    asked = []

    def stopped(stage: str, config: Path, words: list[str], run: Path) -> bool:
        asked.append(run.name)
        return run.name == "base"

    monkeypatch.setattr(trainer, "_trained", stopped)
    words = [f"data.sources={tmp_path / 'photos'}", "--runs", str(tmp_path / "runs"), "--pack", str(tmp_path / "x")]
    assert trainer.main(words) == 130
    assert asked == ["base", "v1"]
    assert not (tmp_path / "x").exists()


def _record(path: Path) -> dict:
    return json.loads(path.read_text())


def test_a_table_is_measured_kept_and_not_measured_again(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce.main([*command, "--only", "table1"])
    written = (tmp_path / "page.md").read_text()
    kept = tmp_path / "kept"
    record = _record(kept / "v1.realsr.json")
    assert record["timesteps"] == [999, 500]
    assert [len(record["pictures"][name]["psnr"]) for name in ("0", "1")] == [3, 2]
    assert _record(kept / "full.realsr.json")["timesteps"] == [999, 499]
    bicubic, codec = (_record(kept / f"{name}.realsr.json")["pictures"]["0"] for name in ("bicubic", "codec"))
    assert len(bicubic["psnr"]) == len(codec["psnr"]) == 1
    assert bicubic != codec
    psnr, spread = verdicts.mean_of(record, "psnr"), verdicts.mean_of(record, "gstd psnr")
    assert f"| 999 500 | {psnr:.2f} ({spread:.3f}) |" in written
    assert f"| {verdicts.mean_of(record, 'lstd'):.4f} |" in written
    # 7 systems with noise, 5 results each, and two without.
    assert "39 results to compute" in (said := capsys.readouterr().out)
    assert re.search(r"l1-gan on realsr, 1: 0 results left, about 0 minutes", said)

    def refuse(self: measure.Upscaler, path: Path, sample: int) -> None:
        raise AssertionError(f"computed again: {path.stem}")

    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(measure.Upscaler, "__call__", refuse)
        reproduce.main([*command, "--only", "table1"])
        reproduce.main([*command, "--render"])
        # More pictures: those that are there stay.
        with pytest.raises(AssertionError, match="computed again: 2"):
            reproduce.main([*command, "--images", "3", "--only", "table1"])
    for name, content in before.items():
        if not name.startswith(("bicubic", "codec")):  # they have the third picture now
            assert (kept / name).read_bytes() == content
    assert (tmp_path / "page.md").read_text() == written


def test_scores_are_those_of_the_evaluation(command: list[str], data: Path, tmp_path: Path) -> None:
    """The same pictures saved and judged by `ccsr.evaluate`."""
    from ccsr import images
    from ccsr.evaluate import evaluate
    from ccsr.metrics import METRICS

    reproduce.main([*command, "--only", "table5"])
    ours = _record(tmp_path / "kept" / "full-S1.realsr.json")["pictures"]["0"]
    shelf = Shelf(Path(command[command.index("--ablation") + 1]), tmp_path / "work" / "models")
    network = shelf.find("full")
    assert network is not None
    make = measure.Upscaler(network, {"steps": 1}, 1)
    folders = [tmp_path / f"run{sample}" for sample in range(3)]
    truths = data / "benchmark" / "realsr" / "test_HR"
    for sample, folder in enumerate(folders):
        folder.mkdir()
        sr = make(data / "benchmark" / "realsr" / "test_LR" / "0.png", sample)[0]
        images.save(images.Picture(sr), folder / "0.png")
    found = evaluate(folders, truths, measure.PROTOCOL, [METRICS[n] for n in measure.SCORES], skip_missing=True)
    for name in measure.SCORES:
        assert ours[name] == pytest.approx(found.scores[name][0], abs=1e-5)
    assert ours["lstd"] == pytest.approx(found.lstd, abs=1e-6)


def test_an_interrupted_measurement_goes_on(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*command, "--only", "table5"]
    reproduce.main(words)
    kept = tmp_path / "kept" / "full-S1.realsr.json"
    before = kept.read_bytes()
    record = json.loads(before)
    del record["pictures"]["0"]
    measure.keep(kept, record)
    asked = []
    whole = measure.Upscaler.__call__

    def counted(self: measure.Upscaler, path: Path, sample: int) -> list:
        asked.append((path.stem, sample))
        return whole(self, path, sample)

    monkeypatch.setattr(measure.Upscaler, "__call__", counted)
    reproduce.main(words)
    assert asked == [("0", 0), ("0", 1), ("0", 2)]
    assert kept.read_bytes() == before


def test_levels(command: list[str], tmp_path: Path) -> None:
    reproduce.main([*command, "--level-images", "1", "--only", "levels"])
    text = (tmp_path / "page.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| bicubic enlargement | ") and "/" in line)
    psnr = [float(cell.split(" / ")[0]) for cell in row.split("|")[2:6]]
    assert psnr == sorted(psnr, reverse=True)  # from clean to heavy
    assert {path.name.split(".")[1] for path in (tmp_path / "kept").iterdir()} == {"clean", "light", "medium", "heavy"}
    # The stand-in decides claims between networks, though none about deviations, which two runs do not give.
    assert "cid22_validation, heavy: **" in text
    assert "NUTS improves the stability (V2 against V1, Table I)\n\nnot measured." in text


def test_figures(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIG2_STEPS", 4)
    monkeypatch.setattr(figures, "SIDE", 64)
    monkeypatch.setitem(sections.FIG2, "v1", ("v1", {"sampling": "uniform", "steps": 4}))
    monkeypatch.setattr(page, "_MIDDLE_STEP", 1)
    reproduce.main([*command, "--only", "fig2", "--only", "panels"])
    record = _record(tmp_path / "kept" / "fig2.heavy.json")
    assert record["timesteps"]["v1"] == [999, 749, 500, 250]
    assert [len(found["v1"]) for found in record["pictures"].values()] == [4, 4]
    assert [len(found["l1"]) for found in record["pictures"].values()] == [1, 1]
    assert len(next(iter(_record(tmp_path / "kept" / "fig2.light.json")["pictures"].values()))["v1"]) == 1
    svg = (tmp_path / "kept" / "fig2-psnr.svg").read_text()
    assert svg.count("<circle") == 6
    assert "xmlns" in svg
    assert (tmp_path / "kept" / "fig4.webp").stat().st_size > 1000
    text = (tmp_path / "page.md").read_text()
    assert "by how much V1 is better than L1 + GAN: light" in text
    assert "*PSNR rises in the early steps and falls in the later ones*: **" in text


def _made(**values: list[list[float]]) -> dict:
    """A record: by metric, of each picture its runs."""
    names = [str(i) for i in range(len(next(iter(values.values()))))]
    pictures = {name: {metric: runs[i] for metric, runs in values.items()} for i, name in enumerate(names)}
    return {"timesteps": [], "pictures": pictures}


def test_an_interval_is_that_of_students_t() -> None:
    """Against the printed tables: 3.182 for three degrees of freedom, 4.032 for five at 99 %, 1.984 for 99."""
    found = verdicts.difference([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 2.0])
    assert found.mean == pytest.approx(1.25)
    assert found.error == pytest.approx(3.182 * 0.5 / 2, rel=1e-3)  # -0.25 three times and 0.75: a spread of 0.5
    six = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]
    assert verdicts.difference(six, [0.0] * 6, 0.99).error == pytest.approx(4.032 * (6 / 5) ** 0.5 / 6**0.5, rel=1e-3)
    hundred = six * 16 + six[:4]
    assert verdicts.difference(hundred, [0.0] * 100).error == pytest.approx(1.984 * (100 / 99) ** 0.5 / 10, rel=1e-3)
    assert verdicts.difference([9.0], [0.0]).error == float("inf")
    with pytest.raises(ValueError, match="pictures"):
        verdicts.difference([1.0], [1.0, 2.0])


def test_means_are_of_two_runs_and_deviations_of_many() -> None:
    record = _made(psnr=[[1.0, 3.0, 8.0], [5.0, 7.0]], ssim=[[0.5] * 3, [0.5] * 2])
    record["pictures"]["0"]["lstd"], record["pictures"]["1"]["lstd"] = 0.1, 0.4
    assert verdicts.values_of(record, "psnr") == {"0": 2.0, "1": 6.0}
    assert verdicts.values_of(record, "gstd psnr") == pytest.approx({"0": (26 / 3) ** 0.5})  # -3, -1 and 4
    assert verdicts.values_of(record, "lstd") == {"0": 0.1}
    two = _made(psnr=[[1.0, 3.0], [5.0, 7.0]])
    assert verdicts.values_of(two, "gstd psnr") == verdicts.values_of(two, "lstd") == {}
    assert verdicts.mean_of(two, "lstd") is None
    assert verdicts.compared(record, two, "gstd psnr") is None


@pytest.mark.parametrize(
    ("quantity", "claim", "outcome"),
    [
        ("psnr", "better", "as claimed"), ("psnr", "worse", "the contrary"), ("niqe", "better", "the contrary"),
        ("niqe", "worse", "as claimed"), ("gstd psnr", "worse", "as claimed"), ("lstd", "better", "the contrary"),
    ],
)  # fmt: skip
def test_outcomes_know_which_way_is_better(quantity: str, claim: verdicts.Direction, outcome: str) -> None:
    found = verdicts.Difference(1.0, 0.5, 3)
    assert verdicts.outcome_of(found, quantity, claim, None) == outcome
    assert verdicts.outcome_of(found, quantity, claim, 0.9) == outcome
    assert verdicts.outcome_of(found, quantity, claim, 1.1) == "not clear"  # two trainings differ by as much
    assert verdicts.outcome_of(verdicts.Difference(1.0, 1.5, 3), quantity, claim, None) == "not clear"


def test_verdicts() -> None:
    assert verdicts.verdict(["as claimed", "as claimed"]) == "holds"
    assert verdicts.verdict(["as claimed", "not clear"]) == "not decided"
    assert verdicts.verdict(["not clear"]) == "not decided"
    assert verdicts.verdict(["as claimed", "the contrary", "not clear"]) == "does not hold"
    assert verdicts.verdict([]) == "not decided"


def test_a_claim_between_networks_is_held_against_the_twin() -> None:
    claim = claims.Claim("x", (claims.Part("v2", "v1", ("psnr", "ssim"), "better"),), trained_apart=True)
    v1 = _made(psnr=[[10.0], [11.0], [12.0], [13.0]], ssim=[[0.5], [0.6], [0.5], [0.6]])
    v2 = _made(psnr=[[11.0], [12.1], [12.9], [14.0]], ssim=[[0.6], [0.7], [0.61], [0.7]])
    near = _made(psnr=[[11.0], [12.0], [13.0], [14.0]], ssim=[[0.6], [0.7], [0.6], [0.7]])
    far = _made(psnr=[[12.5], [13.5], [14.5], [15.5]], ssim=[[0.6], [0.7], [0.6], [0.7]])

    def checks(twin: dict | None) -> list[verdicts.Check]:
        return claim.checks(lambda name: {"v1": v1, "v2": v2, "twin": twin}[name])

    assert [c.outcome for c in checks(near)] == ["as claimed", "as claimed"]
    assert [c.outcome for c in checks(far)] == ["not clear", "as claimed"]
    assert [c.outcome for c in checks(None)] == ["not clear", "not clear"]  # without a floor nothing is known
    # Two comparisons: each interval is one of 97.5 %, 4.177 for three degrees of freedom.
    found = checks(near)[0].found
    assert found.mean == pytest.approx(1.0)
    assert found.error == pytest.approx(4.177 * (0.02 / 3) ** 0.5 / 2, rel=1e-3)
    assert claim.checks({"v1": v1, "v2": None, "twin": near}.__getitem__) == []
    # Within one network there is no floor.
    within = claims.Claim("y", (claims.Part("v2", "v1", ("psnr",), "better"),))
    assert within.checks({"v1": v1, "v2": v2, "twin": far}.__getitem__)[0].floor is None


def test_sizes_are_set_beside_the_papers() -> None:
    """Table II of the paper: 25.59 with T = 12 and 25.86 with T = 6; deviations 0.3081 and 0.2916."""
    found = verdicts.Difference(-0.135, 0.01, 100)
    row = page._check_row(verdicts.Check("full-T12", "full", "psnr", found, None, "as claimed"), "realsr")
    assert row[3:6] == ["*-0.270*", "-0.135 ± 0.010", "0.50"]
    deviation = verdicts.Check("full-T12", "full", "gstd psnr", verdicts.Difference(0.033, 0.01, 20), 0.5, "not clear")
    row = page._check_row(deviation, "realsr")
    assert row[3:7] == ["*+0.0165*", "+0.0330 ± 0.0100", "2.00", "0.5000"]
    table1 = verdicts.Check("v2", "v1", "psnr", found, 0.1, "as claimed")
    assert page._check_row(table1, "realsr")[3] == "not available"
    assert page._check_row(verdicts.Check("full-T12", "full", "psnr", found, None, "as claimed"), "heavy")[3] == (
        "not available"
    )


def test_growth_and_changes_of_steps() -> None:
    def record(v1: list[float], gan: list[float]) -> dict:
        step = {"squeezenet": 0.5}
        return {
            "pictures": {
                str(i): {"v1": [step, {"squeezenet": a}], "l1-gan": [{"squeezenet": b}]}
                for i, (a, b) in enumerate(zip(v1, gan, strict=True))
            }
        }

    light, heavy = record([0.4, 0.5, 0.6], [0.5, 0.6, 0.7]), record([0.3, 0.4, 0.52], [0.6, 0.7, 0.8])
    by_level = [claims.advantages(r, "squeezenet", "v1", "l1-gan", higher=False) for r in (light, heavy)]
    assert by_level[0] == pytest.approx({"0": 0.1, "1": 0.1, "2": 0.1})
    grown = claims.growth(*by_level)
    assert grown.mean == pytest.approx(0.58 / 3)
    assert claims.sign_of(grown, rises=True) == "as claimed"
    assert claims.sign_of(claims.growth(by_level[1], by_level[0]), rises=True) == "the contrary"
    assert claims.sign_of(verdicts.Difference(0.1, 0.2, 3), rises=True) == "not clear"
    assert claims.step_change(light, "v1", "squeezenet", 0, 1).mean == pytest.approx(0.0)
    assert claims.step_change(heavy, "v1", "squeezenet", 0, 1).mean == pytest.approx(-0.28 / 3)


def test_claims_name_systems_that_are_measured() -> None:
    known = {s.name for table in (sections.TABLE1, sections.TABLE2, sections.TABLE3, sections.TABLE5) for s in table}
    assert {name for claim in claims.CLAIMS for part in claim.parts for name in (part.first, part.second)} <= known
    on_levels = {s.name for s in sections.LEVELS}
    for claim in claims.CLAIMS:
        if claim.trained_apart:
            assert {name for part in claim.parts for name in (part.first, part.second)} <= on_levels


def test_every_grid_of_a_claim_is_trained_for() -> None:
    """V2's renoising knows where each estimate of T lands, its diffusion term the steps behind it, DeFT each grid."""
    from ccsr.options import UpscaleOptions

    v2 = resolve("stage1", read_settings(ROOT / RECIPES["v2"].config)).loss
    full = resolve("stage2", read_settings(ROOT / RECIPES["full"].config)).loss
    grids = {(T, "2/3", "1/2") for T in full.grids} | set(full.other_grids or ())
    for system in (*sections.TABLE2, *sections.TABLE3):
        _, landing, *rest = UpscaleOptions.from_mapping(system.options).trajectory.timesteps
        assert landing in v2.renoise
        assert all(v2.t_range[0] <= t < v2.t_range[1] for t in (landing, *rest))
        assert tuple(system.options.values()) in grids
    assert 1 in full.grids


def test_the_page_is_what_its_records_say(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "reproduction")
    write_page(tmp_path / "page.md", tmp_path / "reproduction")
    assert (tmp_path / "page.md").read_text() == STORED.with_suffix(".md").read_text()
    for chart in STORED.glob("*.svg"):
        assert (tmp_path / "reproduction" / chart.name).read_text() == chart.read_text()

"""Folders in, figures out: against sums made by hand, and the faults that real folders have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ccsr import metrics
from ccsr.cli.evaluate import parser
from ccsr.cli.main import main
from ccsr.errors import ImageError, OptionError
from ccsr.evaluate import evaluate
from ccsr.metrics import PROTOCOLS, chosen_metrics
from ccsr.metrics.registry import METRICS, Metric
from helpers import write_picture

PROTOCOL = PROTOCOLS["osediff"]
PICTURES, RUNS = 3, 4


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Results of three pictures in four runs, each with noise of its own, and the ground truth."""
    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        gt = write_picture(tmp_path / "gt" / f"p{i}_HR4.png", 40, 36, seed=i)
        clean = np.asarray(Image.open(gt)).astype(int)
        for j in range(RUNS):
            noise = rng.integers(-4 * (i + 1), 4 * (i + 1) + 1, clean.shape)
            path = tmp_path / "sr" / f"sample{j:02d}" / f"p{i}_LR4.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)).save(path)
    return tmp_path / "sr", tmp_path / "gt"


def stacked(sr: Path, picture: int) -> np.ndarray:
    return np.stack([np.asarray(Image.open(sr / f"sample{j:02d}" / f"p{picture}_LR4.png")) for j in range(RUNS)])


def test_every_figure_against_numpy(folders: tuple[Path, Path]) -> None:
    sr, gt = folders
    found = evaluate([sr], gt, PROTOCOL, chosen_metrics(PROTOCOL, "psnr,ssim,l1"))
    expected = np.array(
        [
            [metrics.psnr(run, np.asarray(Image.open(gt / f"p{i}_HR4.png"))) for run in stacked(sr, i)]
            for i in range(PICTURES)
        ]
    )
    assert found.images == ["p0_HR4", "p1_HR4", "p2_HR4"]
    assert found.scores["psnr"] == pytest.approx(expected)
    assert found.mean("psnr") == pytest.approx(expected.mean())
    assert found.gstd("psnr") == pytest.approx(expected.std(axis=1).mean())
    deviation = [stacked(sr, i).astype(float).std(axis=0).mean() / 255 for i in range(PICTURES)]
    assert found.lstd == pytest.approx(np.mean(deviation))


def test_best_worst_and_medoid(folders: tuple[Path, Path]) -> None:
    sr, gt = folders
    found = evaluate([sr], gt, PROTOCOL, chosen_metrics(PROTOCOL, "psnr"))
    for i in range(PICTURES):
        runs = stacked(sr, i).astype(float)
        apart = ((runs[:, None] - runs[None]) ** 2).mean((2, 3, 4)).sum(1)
        assert found.medoids[i] == apart.argmin()
        assert found.extremes(i) == (found.scores["psnr"][i].argmax(), found.scores["psnr"][i].argmin())


def test_lower_is_better_turns_best_around(folders: tuple[Path, Path]) -> None:
    found = evaluate([folders[0]], folders[1], PROTOCOL, chosen_metrics(PROTOCOL, "l1"))
    assert found.extremes(0) == (found.scores["l1"][0].argmin(), found.scores["l1"][0].argmax())


def test_the_border_is_cut(folders: tuple[Path, Path]) -> None:
    sr, gt = folders
    path = sr / "sample00" / "p0_LR4.png"
    spoiled = np.asarray(Image.open(path)).copy()
    spoiled[:4] = 0
    Image.fromarray(spoiled).save(path)
    whole, cut = (
        evaluate([sr / "sample00"], gt, PROTOCOLS[name], chosen_metrics(PROTOCOLS[name], "psnr")).mean("psnr")
        for name in ("osediff", "ccsr")
    )
    assert cut > whole + 5


def test_one_run_has_no_spread(folders: tuple[Path, Path]) -> None:
    found = evaluate([folders[0] / "sample01"], folders[1], PROTOCOL, chosen_metrics(PROTOCOL, "psnr"))
    assert found.lstd is None
    assert found.as_json()["metrics"]["psnr"]["gstd"] is None


def test_several_folders_are_runs(folders: tuple[Path, Path]) -> None:
    sr, gt = folders
    together = evaluate([sr], gt, PROTOCOL, chosen_metrics(PROTOCOL, "psnr"))
    one_by_one = evaluate(sorted(sr.iterdir()), gt, PROTOCOL, chosen_metrics(PROTOCOL, "psnr"))
    assert np.array_equal(together.scores["psnr"], one_by_one.scores["psnr"])


def test_a_metric_of_whole_folders_sees_only_the_pairs(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sr, gt = folders
    write_picture(gt / "extra.png", 40, 36)
    seen: list[int] = []

    def count(results: Any, truths: Any) -> float:
        seen.append(len(list(Path(results).iterdir())) + len(list(Path(truths).iterdir())))
        return float(len(seen))

    row = Metric("count", "Count", "lower", True, (0, 9), "test", "test", lambda: count, of_set=True)
    monkeypatch.setitem(METRICS, "count", row)
    found = evaluate([sr], gt, PROTOCOL, [METRICS["psnr"], row], skip_missing=True)
    assert seen == [2 * PICTURES] * RUNS
    assert found.as_json()["metrics"]["count"]["mean"] == np.mean([1, 2, 3, 4])
    assert found.as_json()["metrics"]["count"]["gstd"] is None
    assert [path.name for path in found.skipped] == ["extra.png"]


def test_other_sizes_are_refused_by_name(folders: tuple[Path, Path]) -> None:
    sr, gt = folders
    write_picture(sr / "sample02" / "p1_LR4.png", 41, 36)
    with pytest.raises(ImageError, match=r"p1_LR4\.png: is 41x36 and its ground truth p1_HR4\.png is 40x36"):
        evaluate([sr], gt, PROTOCOL, chosen_metrics(PROTOCOL, "psnr"))


def test_sizes_are_those_of_the_files_whatever_the_border(folders: tuple[Path, Path]) -> None:
    sr, gt = folders
    write_picture(sr / "sample02" / "p1_LR4.png", 41, 36)
    with pytest.raises(ImageError, match=r"is 41x36 and its ground truth p1_HR4\.png is 40x36"):
        evaluate([sr], gt, PROTOCOLS["ccsr"], chosen_metrics(PROTOCOLS["ccsr"], "psnr"))


@pytest.fixture
def uneven(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of three pictures: one that every metric can have, one too small for NIQE, one that the border eats."""
    for i, (name, width, height) in enumerate([("large", 200, 210), ("small", 40, 36), ("tiny", 8, 30)]):
        gt = write_picture(tmp_path / "gt" / f"{name}.png", width, height, seed=i)
        for run in (0, 1):
            path = tmp_path / "sr" / f"sample{run:02d}" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(Image.open(gt)) // 2 + 20 * run).save(path)
    return tmp_path / "sr", tmp_path / "gt"


def test_a_metric_that_a_picture_cannot_have_is_null_and_the_others_go_on(uneven: tuple[Path, Path]) -> None:
    protocol = PROTOCOLS["ccsr"]
    found = evaluate([uneven[0]], uneven[1], protocol, chosen_metrics(protocol, "psnr,niqe"))
    plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert plain["per_image"]["small"]["niqe"] == [None, None]
    assert None not in plain["per_image"]["small"]["psnr"]
    assert plain["per_image"]["tiny"]["psnr"] == [None, None]
    assert (plain["metrics"]["niqe"]["unscored"], plain["metrics"]["psnr"]["unscored"]) == (2, 1)
    assert plain["unscored"]["niqe"]["small"] == "32x28 is too small for NIQE (two blocks of 96x96 are needed)"
    assert "nothing is left of 8x30 without a border of 4" in plain["unscored"]["psnr"]["tiny"]
    large = plain["per_image"]["large"]["niqe"]
    assert plain["metrics"]["niqe"]["mean"] == pytest.approx(np.mean(large))
    assert plain["metrics"]["niqe"]["gstd"] == pytest.approx(np.std(large))
    both = [plain["per_image"][name]["psnr"] for name in ("large", "small")]
    assert plain["metrics"]["psnr"]["mean"] == pytest.approx(np.mean(both))
    assert plain["metrics"]["psnr"]["gstd"] == pytest.approx(np.std(both, axis=1).mean())
    assert set(found.lstd_of) == {"large", "small", "tiny"}


def test_a_metric_that_no_picture_can_have_has_no_mean(
    uneven: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sr, gt = uneven
    for path in sr.parent.rglob("large.png"):
        path.unlink()
    assert main(["evaluate", str(sr), "--gt", str(gt), "--metrics", "niqe,l1", "--preset", "osediff", "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == ["NIQE", "-", "-"]
    assert lines[3].split()[0] == "L1"
    assert "NIQE is without 2 of 2 pictures, such as small: 40x36 is too small for NIQE" in lines[-1]


def test_a_metric_of_whole_folders_that_fails_is_missing(folders: tuple[Path, Path]) -> None:
    def fail(results: Any, truths: Any) -> float:
        raise ImageError("too few pictures")

    row = Metric("count", "Count", "lower", True, (0, 9), "test", "test", lambda: fail, of_set=True)
    found = evaluate([folders[0]], folders[1], PROTOCOL, [METRICS["psnr"], row])
    assert [metric.name for metric in found.metrics] == ["psnr"]
    assert found.missing == {"count": "too few pictures"}


def test_a_picture_that_one_run_lacks(folders: tuple[Path, Path]) -> None:
    sr, gt = folders
    (sr / "sample03" / "p2_LR4.png").unlink()
    with pytest.raises(OptionError, match=r"p2_HR4\.png: has no partner in .*sample03"):
        evaluate([sr], gt, PROTOCOL, chosen_metrics(PROTOCOL, "psnr"))
    found = evaluate([sr], gt, PROTOCOL, chosen_metrics(PROTOCOL, "psnr"), skip_missing=True)
    assert found.images == ["p0_HR4", "p1_HR4"]


def test_what_cannot_be_computed_is_told_apart(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyiqa", None)
    found = evaluate([folders[0]], folders[1], PROTOCOL, chosen_metrics(PROTOCOL, "psnr,lpips"))
    assert [m.name for m in found.metrics] == ["psnr"]
    assert "pyiqa is not installed" in found.missing["lpips"]
    with pytest.raises(OptionError, match="none of the metrics can be computed"):
        evaluate([folders[0]], folders[1], PROTOCOL, chosen_metrics(PROTOCOL, "lpips"))


def test_the_help_names_every_preset() -> None:
    assert parser().values["--preset"] == tuple(PROTOCOLS)


def test_command_prints_a_table(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    sr, gt = folders
    assert main(["evaluate", str(sr), "--gt", str(gt), "--metrics", "psnr,squeezenet", "--preset", "osediff"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 pictures, 4 runs, preset osediff (border 0)"
    assert lines[1].split() == ["metric", "mean", "G-STD", "better", "by"]
    assert lines[2].startswith("PSNR ")
    assert lines[3].startswith("SqueezeNet distance ")
    assert lines[4].startswith("L-STD ")


def test_command_prints_json_and_writes_maps(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sr, gt = folders
    maps = tmp_path / "maps"
    words = ["evaluate", str(sr), "--gt", str(gt), "--metrics", "psnr", "--json", "-q", "--maps", str(maps)]
    assert main(words) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert (found["preset"], found["images"], found["runs"]) == ("ccsr", 3, 4)
    assert set(found) == {
        "preset", "border", "versions", "images", "runs", "metrics", "lstd", "per_image", "missing", "unscored",
        "skipped",
    }  # fmt: skip
    assert set(found["metrics"]["psnr"]) == {"mean", "gstd", "unscored", "direction", "implementation"}
    first = found["per_image"]["p0_HR4"]
    assert len(first["psnr"]) == 4
    assert {first["best"], first["worst"], first["medoid"]} <= {0, 1, 2, 3}
    assert sorted(p.name for p in maps.iterdir())[:2] == ["p0_HR4_std.png", "p0_HR4_std_overlay.png"]


def test_results_against_their_inputs(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    sr, gt = folders
    lq = sr.parent / "lq"
    for i in range(PICTURES - 1):
        write_picture(lq / f"p{i}_LR4.png", 10, 9, seed=i)
    words = ["evaluate", str(sr), "--gt", str(gt), "--metrics", "psnr,consistency", "--json", "-q"]
    assert main(words) == 0
    without = json.loads(capsys.readouterr().out)
    assert without["missing"] == {"consistency": "compares with the inputs (--lq names their folder)"}
    maps = sr.parent / "maps"
    assert main([*words, "--lq", str(lq), "--maps", str(maps)]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = [metrics.consistency(run, np.asarray(Image.open(lq / "p1_LR4.png"))) for run in stacked(sr, 1)]
    assert found["per_image"]["p1_HR4"]["consistency"] == pytest.approx(expected)
    assert found["unscored"]["consistency"] == {"p2_HR4": "its input is not in the folder of inputs"}
    assert Image.open(maps / "p0_HR4_consistency.png").width == 10
    assert not (maps / "p2_HR4_consistency.png").exists()


def test_results_against_their_inputs_alone(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    sr, _ = folders
    lq = sr.parent / "lq"
    for i in range(PICTURES):
        write_picture(lq / f"p{i}_LR4.png", 10, 9, seed=i)
    assert main(["evaluate", str(sr), "--lq", str(lq), "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["metrics"]) == ["consistency"]
    expected = [metrics.consistency(run, np.asarray(Image.open(lq / "p1_LR4.png"))) for run in stacked(sr, 1)]
    assert found["per_image"]["p1_LR4"]["consistency"] == pytest.approx(expected)
    assert main(["evaluate", str(sr), "--lq", str(lq), "--metrics", "consistency,lattice,psnr"]) == 2
    assert "no ground truth is given (add --gt FOLDER)" in capsys.readouterr().err


def test_a_model_is_upscaled_and_scored_in_one_go(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "set" / "test_LR" / "a_LR4.png", 16, 12)
    write_picture(tmp_path / "set" / "test_HR" / "a_HR4.png", 64, 48)
    out = tmp_path / "kept"
    words = ["evaluate", "--run", tiny, str(tmp_path / "set"), "--samples", "2", "-o", str(out)]
    words += ["--metrics", "psnr,consistency"]
    assert main([*words, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["images"], first["runs"]) == (1, 2)
    assert first["lstd"] > 0
    assert 0 < first["metrics"]["consistency"]["mean"] < 80
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["sample00", "sample01"]
    kept = (out / "sample00" / "a_LR4.png").stat().st_mtime_ns
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == first["metrics"]
    assert (out / "sample00" / "a_LR4.png").stat().st_mtime_ns == kept  # gone on, not done again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate"], "no folder of results is given"),
        (["evaluate", "sr"], "no ground truth is given"),
        (["evaluate", "sr", "--gt", "nowhere"], "nowhere: is not a folder"),
        (["evaluate", "sr", "--gt", "gt", "--preset", "cssr"], "--preset is 'cssr'"),
        (["evaluate", "sr", "--gt", "gt", "--steps", "2"], "--steps says how to upscale (add --run MODEL)"),
        (["evaluate", "--run", "nano"], "one folder of inputs is needed"),
        (["evaluate", "--run", "nano", "sr"], "is no test set"),
    ],
)
def test_wrong_usage(words: list[str], message: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "sr").mkdir()
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_data_check_command(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(desk / "LR" / "a.png", 12, 8)
    write_picture(desk / "HR" / "a.png", 48, 32)
    assert main(["data", "check", "pairs", "."]) == 0
    assert main(["data", "check", "realsr", "."]) == 1
    captured = capsys.readouterr()
    assert "realsr has 100" in captured.out
    assert main(["data", "check", "pairs"]) == 2

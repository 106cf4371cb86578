"""G-STD and L-STD on arrays whose deviation is known, and the map that shows it."""

import numpy as np
import pytest
from PIL import Image

from ccsr.errors import OptionError
from ccsr.stability import StabilityMeter, gstd
from ccsr.stability.maps import FULL, coloured, overlay, save_maps, with_scale


def test_gstd_is_the_population_deviation_averaged_over_pictures() -> None:
    assert gstd(np.array([[1.0, 3.0], [5.0, 5.0]])) == pytest.approx(0.5)
    assert gstd(np.array([[2.0], [7.0]])) == 0


def test_lstd_of_known_deviation() -> None:
    meter = StabilityMeter()
    base = np.random.default_rng(0).uniform(0.2, 0.8, (3, 6, 5))
    for run, offset in enumerate((-0.1, 0.1)):
        meter.update("a", run, base + offset)
    for run in range(2):
        meter.update("b", run, base)
    found = meter.result()
    assert found.per_image == pytest.approx({"a": 0.1, "b": 0})
    assert found.lstd == pytest.approx(0.05)


def test_meter_agrees_with_numpy_at_once() -> None:
    runs = np.random.default_rng(1).uniform(0, 1, (10, 3, 20, 30)).astype(np.float32)
    meter = StabilityMeter()
    for i, run in enumerate(runs):
        meter.update("a", i, run)
    assert meter.deviation == pytest.approx(runs.astype(float).std(0), abs=1e-12)
    assert meter.mean == pytest.approx(runs.astype(float).mean(0))
    assert meter.result().lstd == pytest.approx(runs.astype(float).std(0).mean())


def test_a_torch_tensor_is_a_picture_too() -> None:
    torch = pytest.importorskip("torch")
    meter = StabilityMeter()
    for i in range(2):
        meter.update("a", i, torch.full((3, 2, 2), float(i)))
    assert meter.result().lstd == pytest.approx(0.5)


def test_what_the_meter_refuses() -> None:
    meter = StabilityMeter()
    meter.update("a", 0, np.zeros((2, 2)))
    with pytest.raises(OptionError, match="run 0 of a was measured before"):
        meter.update("a", 0, np.zeros((2, 2)))
    with pytest.raises(OptionError, match=r"run 1 of a has the shape \(3, 2\)"):
        meter.update("a", 1, np.zeros((3, 2)))
    meter.update("b", 0, np.zeros((2, 2)))
    with pytest.raises(OptionError, match="give all runs of one picture together"):
        meter.update("a", 1, np.zeros((2, 2)))


def test_memory_does_not_grow_with_runs_or_pictures() -> None:
    import tracemalloc

    def peak(pictures: int, runs: int) -> int:
        meter, picture = StabilityMeter(), np.zeros((3, 64, 64))
        tracemalloc.start()
        for i in range(pictures):
            for j in range(runs):
                meter.update(str(i), j, picture + 0.1 * j)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    small = peak(2, 2)
    assert peak(100, 10) < small + 64 * 1024


def test_map_colours_are_in_order_and_end_at_the_scale() -> None:
    ramp = np.linspace(0, 2 * FULL, 101)[None]
    lightness = coloured(ramp).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness[0, :51]) > 0).all()
    assert (np.diff(lightness[0, 51:]) == 0).all()


def test_map_files(tmp_path) -> None:
    deviation, mean = np.zeros((60, 300)), np.full((60, 300, 3), 0.5)
    deviation[:, 150:] = FULL
    save_maps(deviation, mean, tmp_path / "deep" / "photo")
    drawn = np.asarray(Image.open(tmp_path / "deep" / "photo_std.png").convert("RGB"))
    over = np.asarray(Image.open(tmp_path / "deep" / "photo_std_overlay.png").convert("RGB"))
    assert drawn.shape[1] == 300
    assert drawn.shape[0] > 60
    assert np.array_equal(drawn[:60], coloured(deviation))
    assert over.shape == (60, 300, 3)
    assert (over[:, :150] == 128).all()  # untouched where nothing differs
    assert over[0, 200, 0] > 200
    assert with_scale(deviation).size == (300, drawn.shape[0])
    assert overlay(deviation, mean).size == (300, 60)

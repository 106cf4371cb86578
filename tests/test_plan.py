"""Plans: what is computed side by side, and what alone."""

import os

import pytest

from ccsr import plan as plan_module
from ccsr.errors import OptionError
from ccsr.options import UpscaleOptions
from ccsr.plan import Plan, bf16_is_faster, make_plan, output_size, resolve_machine
from ccsr.weights import describe


@pytest.fixture
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)


def plan(tiny: str, side: int, **options: object) -> Plan:
    return make_plan(side, side, UpscaleOptions.from_mapping({"device": "cpu", **options}), describe(tiny))


@pytest.mark.usefixtures("_four_cores")
def test_only_small_pictures_without_tiles_are_computed_side_by_side(tiny: str) -> None:
    assert (plan(tiny, 64).lanes, plan(tiny, 64).threads) == (4, 1)
    assert (plan(tiny, 65).lanes, plan(tiny, 65).threads) == (1, 4)
    # The statistics that tiles share are kept in the networks, so that two tiled pictures would mix theirs.
    for tiles in ({"tile": 128}, {"vae_tile": 128}, {"tile": 128, "vae_tile": 128}):
        assert plan(tiny, 64, **tiles).lanes == 1, tiles
    assert plan(tiny, 64, tile=256).lanes == 4, "one tile is none"
    assert plan(tiny, 64, threads=2).lanes == 1, "threads that were asked for are given to each picture"


def test_the_first_program_rounds_sides_up() -> None:
    asked = {"scale": "5/2"}
    assert output_size(61, 33, UpscaleOptions.from_mapping(asked | {"compat": "v1"})) == (153, 83)
    assert output_size(61, 33, UpscaleOptions.from_mapping(asked)) == (152, 82)


@pytest.mark.parametrize(
    ("asked", "photo", "size"),
    [
        # 40 cm are 15.748 inches: 4724 dots at 300 per inch.
        ({"print": "40x30cm"}, (1200, 900), (4724, 3543)),
        ({"print": "40x30cm"}, (900, 1200), (3543, 4724)),
        ({"print": "30 x 40 cm"}, (1200, 900), (4724, 3543)),
        ({"print": "400x300mm", "dpi": 240}, (1200, 900), (3780, 2835)),
        ({"print": "6x4in", "dpi": 300}, (1000, 800), (1500, 1200)),
        ({"print": "6x4in", "dpi": 300}, (1000, 500), (1800, 900)),
        ({"print": "4x4in", "dpi": 100}, (100, 200), (200, 400)),
        ({"dpi": 72}, (10, 20), (40, 80)),
    ],
)
def test_the_size_on_paper(asked: dict[str, object], photo: tuple[int, int], size: tuple[int, int]) -> None:
    assert output_size(*photo, UpscaleOptions.from_mapping(asked)) == size


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"print": "40cm"}, "--print is '40cm' (for instance 40x30cm)"),
        ({"print": "0x30cm"}, "--print is '0x30cm' (for instance 40x30cm)"),
        ({"print": "40x30ft"}, "--print is '40x30ft' (for instance 40x30cm)"),
        ({"print": "40x30cm", "scale": 2}, "--print and --scale both set the size (give one of them)"),
        ({"print": "6x4in", "dpi": 0}, "--dpi is 0 (choose 1 to 10000)"),
        (
            {"print": "6x4in"},
            "3600x2400 is more than --print needs at 300 dots per inch"
            " (print it as it is: it has 600 there, or choose a larger --dpi)",
        ),
        ({"print": "400x300cm"}, "3600x2400 to 47244x31496 is not between 1 and 8 times the side"),
    ],
)
def test_what_cannot_be_printed_so(asked: dict[str, object], line: str) -> None:
    with pytest.raises(OptionError) as caught:
        output_size(3600, 2400, UpscaleOptions.from_mapping(asked))
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("vendor", "flags", "dtype", "trained"),
    [
        ("AuthenticAMD", "avx2 avx512f", "fp32", False),
        ("AuthenticAMD", "avx512f avx512_bf16", "bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", "fp32", False),  # 86 by 160 GFLOP/s, training 1.5 times as long
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", "bf16", True),
        ("", "asimd bf16", "bf16", False),  # Arm
        ("", "", "fp32", False),
    ],
)
def test_the_number_format_is_what_the_processor_is_fast_in(
    monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str, dtype: str, trained: bool
) -> None:
    lines = {"vendor_id": vendor, "flags": flags}
    said = lambda *names: frozenset(next((lines[n] for n in names if n in lines), "").split())  # noqa: E731
    monkeypatch.setattr(plan_module, "cpu_says", said)
    assert resolve_machine(UpscaleOptions.from_mapping({"device": "cpu"}))[1] == dtype
    assert bf16_is_faster(backward=True) is trained
    for asked in ("fp32", "bf16"):
        assert resolve_machine(UpscaleOptions.from_mapping({"device": "cpu", "dtype": asked}))[1] == asked


def test_the_words_of_the_processor_are_read() -> None:
    if not os.path.exists("/proc/cpuinfo"):
        pytest.skip("this system has no /proc/cpuinfo")
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        words = next(line for line in lines if line.startswith(("flags", "Features"))).partition(":")[2]
    assert plan_module.cpu_says("flags", "Features") == frozenset(words.split())
    assert plan_module.cpu_says("no such line") == frozenset()

"""The paper's values are those that the paper prints."""

from pathlib import Path

import pytest

from ccsr.compare import paper_values
from ccsr.errors import OptionError


def test_values_read_off_the_paper() -> None:
    row = paper_values.find_row("CCSR-S1", "realsr")
    assert (row.table, row.steps) == ("V", 1)
    shown = {name: row.value(name).text for name in ("psnr", "ssim", "lpips", "fid", "niqe", "lstd")}
    assert shown == {
        "psnr": "25.97 / 0.1976", "ssim": "0.7493 / 0.0070", "lpips": "0.2804 / 0.0077", "fid": "121.43",
        "niqe": "5.80 / 0.3474", "lstd": "0.0140",
    }  # fmt: skip
    assert row.value("squeezenet") is None


def test_anomalies_stand_with_their_value() -> None:
    note = paper_values.find_row("CCSR-S2", "RealSR").value("psnr").note
    assert note.startswith("G-STD differs from Tables II and III (0.2916)")
    odd = paper_values.find_row("III: T=6 t_max=1/2 t_min=1/6", "RealSR").value("niqe")
    assert odd.gstd == 0.009
    assert "implausible for NIQE" in odd.note


def test_a_row_of_two_tables_is_told_apart() -> None:
    name = "T=6 t_max=2/3 t_min=1/2"
    assert [paper_values.find_row(f"{table}: {name}", "DrealSR").table for table in ("II", "III")] == ["II", "III"]


def test_unknown_names() -> None:
    with pytest.raises(OptionError, match=r"no data set 'Set5' \(dataset: DIV2K or DrealSR or RealSR\)"):
        paper_values.find_row("CCSR-S1", "Set5")


def test_data_is_the_reference_table(shared: Path) -> None:
    ours = Path(paper_values.__file__).parent / "data" / "paper_tables.csv"
    assert ours.read_bytes() == (shared / "reference" / "paper_tables.csv").read_bytes()

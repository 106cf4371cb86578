"""What the package says of its own installation."""

import subprocess
import sys
from pathlib import Path

import pytest

from ccsr.version import OTHER

WARNING = (
    "UserWarning: ccsr-pruned 2.2.1 is installed too and puts its files into the same folder 'ccsr': "
    "pip uninstall ccsr ccsr-pruned, then install ccsr again"
)


@pytest.mark.parametrize("words", [["-c", "import ccsr"], ["-m", "ccsr", "--version"], ["-c", "import ccsr.cli.main"]])
def test_another_distribution_of_the_same_package(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, *words]
    assert subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stderr == ""
    # What pip leaves of it, on the path of a process that starts here.
    left = tmp_path / f"{OTHER.replace('-', '_')}-2.2.1.dist-info"
    left.mkdir()
    (left / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {OTHER}\nVersion: 2.2.1\n")
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if line.endswith(WARNING)]

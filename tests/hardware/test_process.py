"""The start time of a process, compared with the clock of its parent."""

import subprocess
import sys
import time

import pytest

import lmlab
from lmlab.hardware.process import STAT, process_began

SAYS = """
import time
time.sleep(0.5)
from lmlab.hardware.process import process_began
print(time.monotonic() - process_began())
"""


@pytest.mark.skipif(not STAT.exists(), reason="the kernel doesn't say when a process began")
def test_a_process_counts_from_its_start_and_not_from_its_imports():
    before = time.monotonic()
    said = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    whole = time.monotonic() - before
    # The kernel counts in hundredths of a second.
    assert 0.5 <= float(said.stdout) <= whole + 0.02


@pytest.mark.parametrize("content", ["", "7 (a (b) c) S 1", "7 (x) S " + "0 " * 40, "7 (x) S " + "1000000000000 " * 40])
def test_where_the_system_says_nothing_that_can_be_it_is_the_import_of_lmlab(tmp_path, content):
    (tmp_path / "stat").write_text(content)
    assert process_began(tmp_path / "stat") == lmlab.IMPORTED
    assert process_began(tmp_path / "none") == lmlab.IMPORTED


@pytest.mark.skipif(not STAT.exists(), reason="the kernel doesn't say when a process began")
def test_a_program_whose_name_has_spaces_and_parentheses_is_read_too(tmp_path):
    rest = STAT.read_text().rpartition(")")[2]
    (tmp_path / "stat").write_text(f"7 (my ) S 1 (program){rest}")
    assert process_began(tmp_path / "stat") == pytest.approx(process_began(), abs=0.01)

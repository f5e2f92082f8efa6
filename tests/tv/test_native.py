"""Machine code that cannot be kept or read costs time, and nothing else."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from specfreq.tv import native

DOUBLED = """
import numpy as np
from specfreq.tv import native

@native.Compiled
def double(rows, values):
    for k in rows:
        values[k] *= 2

values = np.arange(3.0)
double(np.arange(3), values)
print(values.tolist())
"""


def ran(folder, **environment):
    (folder / "doubled.py").write_text(DOUBLED)
    own = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "code"), **environment}
    command = [sys.executable, str(folder / "doubled.py")]
    return subprocess.run(command, env=own, text=True, capture_output=True)


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_code_is_made_anew_and_its_place_is_named(tmp_path, suffix):
    assert ran(tmp_path).stdout == "[0.0, 2.0, 4.0]\n"
    (kept,) = (tmp_path / "code").rglob(f"*{suffix}")
    kept.write_bytes(kept.read_bytes()[:500])
    again = ran(tmp_path)
    assert again.stdout == "[0.0, 2.0, 4.0]\n", again.stderr
    assert f"the machine code in {kept.parent} is of no use" in again.stderr


def test_code_for_which_there_is_no_room_is_used_all_the_same(monkeypatch, caplog):
    @native.Compiled
    def double(rows, values):
        for k in rows:
            values[k] *= 2

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(double._code._cache, "save_overload", full)
    values = np.arange(3.0)
    with caplog.at_level(logging.WARNING):
        native.share(double, np.arange(3), values)
        native.share(double, np.arange(3), values)
    assert values.tolist() == [0, 4, 8] and len(caplog.records) == 1


def test_without_its_compiler_numba_is_not_there(tmp_path):
    done = ran(tmp_path, NUMBA_DISABLE_JIT="1")
    assert "ImportError: NUMBA_DISABLE_JIT is set" in done.stderr


@pytest.mark.parametrize("threads, least", [(1, 1), (3, 1), (3, 4), (9, 1)])
def test_every_row_is_done_once(threads, least):
    before, done = torch.get_num_threads(), np.zeros(7, int)
    torch.set_num_threads(threads)
    try:
        parts = []
        native.share(
            lambda part, done: parts.append(part) or np.add.at(done, part, 1), np.arange(7), done, least=least
        )
    finally:
        torch.set_num_threads(before)
    assert done.tolist() == [1] * 7 and len(parts) == max(1, min(threads, 7 // least))

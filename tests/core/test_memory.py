"""What the memory is asked for."""

import os
import platform
import subprocess
import sys

import pytest

from specfreq.core import memory

CHURN = """
import resource
import torch
from specfreq.core.devices import exact

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(6):
        kept = [torch.ones(k * 2**18) for k in (1, 5, 25)]  # 1, 5 and 25 MiB
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
with exact(torch.device("cpu")):
    pass
faults()
print(plain, faults())
"""
GLIBC = platform.libc_ver()[0] == "glibc" and not os.environ.get("LD_PRELOAD")


def counted(**settings: str) -> list[int]:
    own = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES" and not k.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", CHURN], env=own | settings, capture_output=True, text=True, check=True
    )
    return [int(number) for number in found.stdout.split()]


@pytest.mark.skipif(not GLIBC, reason="glibc's")
@pytest.mark.skipif(memory.memory() < 2**30, reason="little memory")
def test_what_is_freed_is_used_again():
    before, after = counted()
    assert after < before / 50
    _, asked = counted(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert asked > before / 2  # as the environment has it


@pytest.mark.parametrize(
    "settings",
    [
        {"MALLOC_TOP_PAD_": "0"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0"},
        {"libc": "musl"},
        {"libc": None},
    ],
    ids=str,
)
def test_another_malloc_is_left_as_it_is(settings, monkeypatch):
    def library(_):
        raise AssertionError("is asked")

    def version(_):
        if settings.get("libc") is None:
            raise ValueError
        return settings["libc"]

    for name in [n for n in os.environ if n.startswith("MALLOC_")] + ["GLIBC_TUNABLES"]:
        monkeypatch.delenv(name, raising=False)
    if "libc" in settings:
        monkeypatch.setattr(os, "confstr", version, raising=False)
    for name, value in settings.items():
        if name != "libc":
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(memory.ctypes, "CDLL", library)
    memory.keep_freed.__wrapped__()

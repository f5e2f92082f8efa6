"""What the memory is asked for."""

import os
import subprocess
import sys

import pytest

CHURN = """
import resource
import torch
from specfreq.core.devices import exact

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        kept = [torch.ones(k * 2**18) for k in (1, 10, 50)]  # 1, 10 and 50 MiB
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
with exact(torch.device("cpu")):
    pass
faults()
print(plain, faults())
"""


def counted(**settings: str) -> list[int]:
    found = subprocess.run(
        [sys.executable, "-c", CHURN], env=os.environ | settings, capture_output=True, text=True, check=True
    )
    return [int(number) for number in found.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_what_is_freed_is_used_again():
    if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
        pytest.skip("glibc's")
    before, after = counted()
    assert after < before / 50
    _, asked = counted(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert asked > before / 2  # as the environment has it

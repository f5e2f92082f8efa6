"""Run the numerical tests as other processors would: `make test-processors`, or `python tests/processors.py
[SETTING]... [PYTEST OPTION]...`.

Libraries choose their code by the processor: vectors of 128, 256 or 512 bits, fused products or not, and so
round differently. The variables below make them choose as they would elsewhere. None of the settings is the
right one: a test must hold for all.
"""

import concurrent.futures
import itertools
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_ONCE = 2  # settings, each with one thread

# setting -> what the processor must be able to do, and the variables: of MKL, of PyTorch, of oneDNN, of OpenBLAS
# and of numba; this processor as it is has been through `make test`
SETTINGS = {
    "oldest": (
        (),
        {
            "MKL_CBWR": "COMPATIBLE",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "NEHALEM",
            "NUMBA_CPU_NAME": "generic",
        },
    ),
    "AVX2": (
        ("avx2", "fma"),
        {
            "MKL_CBWR": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OPENBLAS_CORETYPE": "HASWELL",
        },
    ),
    "AVX-512": (
        ("avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"),
        {
            "MKL_CBWR": "AVX512",
            "ATEN_CPU_CAPABILITY": "avx512",
            "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
            "OPENBLAS_CORETYPE": "SKYLAKEX",
        },
    ),
    "mixed": (
        ("avx2", "fma"),
        {"MKL_CBWR": "AVX512", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    ),
}

# what computes with floating-point numbers and judges the results; not what trains for long, draws or talks
TESTS = [
    "tests/augment",
    "tests/corruptions",
    "tests/measures",
    "tests/attacks",
    "tests/core/test_draws.py",
    "tests/core/test_randomness.py",
    "tests/data/test_planted.py",
    "tests/filters",
    "tests/test_fourier.py",
    "tests/studies/test_image_spectra.py",
    "tests/tv",
    "--ignore=tests/tv/test_tv_chip.py",  # compiles for a GPU
    "--ignore=tests/measures/test_planted_truth.py",  # trains
]


def lacking(needs: tuple[str, ...]) -> list[str]:
    """What a setting needs that this processor cannot do."""
    line = next(
        (one for one in Path("/proc/cpuinfo").read_text().splitlines() if one.startswith("flags")), ""
    )
    return [need for need in needs if need not in line.split()]


def main(words: list[str]) -> int:
    options = list(itertools.dropwhile(SETTINGS.__contains__, words))
    asked = words[: len(words) - len(options)] or list(SETTINGS)
    chosen, skipped = {name: SETTINGS[name] for name in asked}, {}
    if sys.platform != "linux" or platform.machine() != "x86_64":
        skipped = {
            name: f"its variables mean something on Linux x86-64 only, not on {platform.platform()}"
            for name in chosen
        }
    else:
        skipped = {
            name: f"this processor has no {' '.join(lacks)}"
            for name, (n, _) in chosen.items()
            if (lacks := lacking(n))
        }
    for name, why in skipped.items():
        print(f"{name}: skipped; {why}", flush=True)
        del chosen[name]

    running: set[subprocess.Popen] = set()
    ended = threading.Event()

    def run(name: str) -> bool:
        start = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--color=no",
            *TESTS,
            *options,
        ]
        given = os.environ | {"OMP_NUM_THREADS": "1"} | SETTINGS[name][1]
        if ended.is_set():
            return False
        # a process of its own, as libraries read these when they start
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            running.add(process)
            lines = process.communicate()[0].splitlines()
            running.discard(process)
        good = process.returncode == 0
        last = lines[-1].strip("= ")[:200] if lines else "no output"
        report = [f"{name}: {'ok' if good else 'FAILED'}, {time.monotonic() - start:.0f} s; {last}"]
        if not good:
            named = [f"  {line[:200]}" for line in lines if line.startswith(("FAILED", "ERROR"))]
            report += named or [
                f"  pytest ended with {process.returncode}:",
                *(f"  {line[:200]}" for line in lines[-15:]),
            ]
        print("\n".join(report), flush=True)
        return good

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(run, name) for name in chosen]
        try:
            good = [future.result() for future in futures]
            return 0 if all(good) else 1
        finally:  # after Ctrl-C: nothing goes on
            ended.set()
            for process in list(running):
                process.terminate()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")

"""Where and with what something was computed: version, commit, device."""

import datetime
import functools
import subprocess
from pathlib import Path
from typing import Any

import torch

import specfreq


def provenance(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Where and with what something was computed."""
    threads = torch.get_num_threads()
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else f"CPU, {threads} thread{'s' * (threads > 1)}"
    return {
        "specfreq": specfreq.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "device": name if processes == 1 else f"{processes} x {name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


@functools.cache
def _commit() -> str | None:
    """The commit of the checkout, marked if the package differs from it; None outside a checkout."""
    package = Path(__file__).resolve().parents[1]
    git = functools.partial(subprocess.run, cwd=package, capture_output=True, text=True)
    try:
        if git(["git", "ls-files", "--error-unmatch", "__init__.py"]).returncode:
            return None  # installed somewhere inside a repository that is not ours
        head = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        changed = git(["git", "status", "--porcelain", "--", "."]).stdout.strip()
    except OSError:
        return None
    return f"{head}-modified" if head and changed else head or None

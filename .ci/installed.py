"""Use the installed package as somebody without the checkout would, in any other folder."""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
TRAINING = "train --data digits --train-size 60 --test-size 30 --epochs 1 --batch 30"
NAMES = "import specfreq; specfreq.tv.denoise; specfreq.measures.names(); print(specfreq.__version__)"


def say(*args: str, place: str) -> str:
    """What a command of a fresh interpreter prints; what it complains about ends this."""
    environment = {k: v for k, v in os.environ.items() if k != "SPECFREQ_DATA"}
    command = [sys.executable, *args]
    done = subprocess.run(
        command,
        cwd=place,
        env={**environment, "SPECFREQ_RUNS": f"{place}/runs"},
        text=True,
        stdout=subprocess.PIPE,
    )
    if done.returncode:
        sys.exit(f"{' '.join(args)} ended with {done.returncode}")
    return done.stdout


def main() -> None:
    package = Path(find_spec("specfreq").origin).resolve().parent
    if CHECKOUT in package.parents and "site-packages" not in package.parts:
        sys.exit(f"{package} is the checkout, not an installed package")
    ours = CHECKOUT / "specfreq"
    wanted = {p.relative_to(ours) for p in ours.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    lost = sorted(str(p) for p in wanted if not (package / p).is_file())
    if lost:
        sys.exit(f"the wheel lacks {', '.join(lost)}")
    with tempfile.TemporaryDirectory() as place:
        version = say("-m", "specfreq", "--version", place=place).split()[1]
        assert say("-c", NAMES, place=place).strip() == version
        assert "  resnet20\n" in say("-m", "specfreq", "list", place=place)
        key = say("-m", "specfreq", *TRAINING.split(), place=place).split()[0]
        assert key in say("-m", "specfreq", "list", "runs", place=place)
    print(f"specfreq {version} works from {package}: {len(wanted)} files")


if __name__ == "__main__":
    main()

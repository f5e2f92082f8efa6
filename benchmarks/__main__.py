"""python -m benchmarks [NAME ...]: speed against named peers, as ratios measured in one run. Without names:
all of them.
"""

import importlib
import sys
from pathlib import Path

from benchmarks import timing

known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "timing")
if unknown := set(sys.argv[1:]) - set(known):
    sys.exit(f"benchmarks: no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
print(timing.machine())
for name in sys.argv[1:] or known:
    importlib.import_module(f"benchmarks.{name}").run()

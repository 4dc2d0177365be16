"""`python tools/mutants`: see mutants.py."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("mutants.py")), run_name="__main__")

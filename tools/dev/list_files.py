#!/usr/bin/env python3
"""Print the files of a folder, one a line, for a meson.build that should not repeat them by hand.

    list_files.py FOLDER PATTERN... [--not PATTERN...]

Patterns are matched against paths relative to FOLDER, in the manner of fnmatch: `*` crosses slashes.
Never listed: hidden files, caches, build descriptions, and what the compilers make.
"""

from __future__ import annotations

import argparse
import os
from fnmatch import fnmatchcase
from pathlib import Path

NEVER = ("meson.build", "*.so", "*.pyc", "*~")


def list_files(folder: Path, patterns: list[str], excluded: list[str]) -> list[str]:
    """Return the sorted relative paths below `folder` that match one of `patterns` and none of `excluded`."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in names:
            path = (Path(root) / name).relative_to(folder).as_posix()
            if name.startswith(".") or any(fnmatchcase(name, pattern) for pattern in NEVER):
                continue
            if any(fnmatchcase(path, pattern) for pattern in excluded):
                continue
            if any(fnmatchcase(path, pattern) for pattern in patterns):
                found.append(path)
    return sorted(found)


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description="print the files of a folder, one a line")
    parser.add_argument("folder", type=Path)
    parser.add_argument("patterns", nargs="+")
    parser.add_argument("--not", dest="excluded", nargs="*", default=[])
    options = parser.parse_args()
    for path in list_files(options.folder, options.patterns, options.excluded):
        print(path)


if __name__ == "__main__":
    main()

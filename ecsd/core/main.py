"""The entry point of `ecsd`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from ecsd import logs
from ecsd.core.options import PROGRAM, CoreOptions, check
from ecsd.leaving import leave
from ecsd.settings import Loaded, run
from libecs.io.folderlock import FolderLock


def start(loaded: Loaded[CoreOptions]) -> int:
    """Be the core until we are told to end; return the exit code. Raises EcsError: it can't be the core."""
    options = loaded.settings
    check(options)
    lock = FolderLock(options.state)
    # What is imported now takes a second: a second core is told before.
    from ecsd.core.daemon import CoreDaemon

    logs.set_up(options.log_level, options.log_format, environment=os.environ, program=PROGRAM.name)
    return asyncio.run(CoreDaemon(options, os.environ, lock).run())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `ecsd`, and end the process."""
    leave(run(PROGRAM, CoreOptions, sys.argv[1:] if arguments is None else arguments, start))

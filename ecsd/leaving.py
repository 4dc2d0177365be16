"""How the process of a daemon ends."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process at once with an exit code; what was logged and printed is written.

    Not sys.exit: that waits for threads, and one that looks up a host name or waits for a git server may do so for
    minutes.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

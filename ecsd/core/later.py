"""What a core needs, but not to be ready: imported in a thread once it is, part by part.

So the first who asks for a template waits for nothing, and what is missing of an installation is told within seconds
of the start and not a week later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from libecs.io.blocking import BlockingCalls

logger = logging.getLogger(__name__)

BEGIN_S: Final = 1.0
"""After readiness: what was before the restart comes first."""
PAUSE_S: Final = 0.05
"""Between two of them: the engine's loop goes before."""
MODULES: Final = (
    "lark",
    "libecs.language.compiler",
    "libecs.workflow.expand",
    "libecs.io.overlay",
    "libecs.io.consult.consultant",
    "pygit2",
)


async def load(blocking: BlockingCalls, problems: list[str], modules: Sequence[str] = MODULES) -> None:
    """Import all of them; what can't be imported is a sentence more in `problems`."""
    await asyncio.sleep(BEGIN_S)
    for name in modules:
        try:
            await blocking.start(import_module, name)
        except Exception as error:  # whatever a broken module raises: what comes after it is done all the same
            problems.append(f"a part of the installation is missing or broken: {name}: {error}")
            logger.error("%s", problems[-1])
        await asyncio.sleep(PAUSE_S)

"""Generated workflows: what a DPL command depends on, and the name that its result has.

Running such a command is somebody else's decision (`allow` of `expand`); this is what can be said without running it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

MOST_URIS = 2
_URI = re.compile(r"""(["']?)((?:consul-json|apricot)://[^ |\n]*)""")


def configuration_uris(command: str) -> tuple[str, ...]:
    """Return the URIs of configuration that a command reads: at most two, in their order.

    A URI ends at a blank, a `|` or the end of its line. A quote around the whole of it is not part of it, quotes
    inside (`?a='b'`) are.
    """
    found = []
    for match in _URI.finditer(command):
        quote, uri = match.groups()
        if quote and uri.endswith(quote):
            uri = uri[: -len(quote)]
        found.append(uri)
    return tuple(found[:MOST_URIS])


def generated_name(command: str, packages: str, environment: str, payloads: Sequence[str]) -> str:
    """Return the name of the workflow that a command generates: the same for the same ingredients.

    packages: the versions of the software that interprets the command. environment: variables exported for it.
    payloads: what the URIs of the command held, in their order.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for part in (command, packages, environment, *payloads):
        digest.update(part.encode())
    return f"jit-{digest.hexdigest()}"

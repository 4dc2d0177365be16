"""The version of what is installed."""

from __future__ import annotations

from pathlib import Path

_NAME = "libecs"


def version() -> str:
    """Return the version of the installed package, or "unknown" when it runs from a source tree."""
    # It is in the name of the folder beside the package; importlib.metadata would cost a daemon's start as much as
    # its sockets do.
    found = list(Path(__file__).parents[2].glob(f"{_NAME}-*.dist-info"))
    if len(found) == 1:
        return found[0].name.removeprefix(f"{_NAME}-").removesuffix(".dist-info")
    import importlib.metadata

    try:
        return importlib.metadata.version(_NAME)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

"""The version of what is installed."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    """Return the version of the installed package, or "unknown" when it runs from a source tree."""
    try:
        return importlib.metadata.version("libecs")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

"""A repository of workflows, as people are told of it."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Place:
    """A repository of workflows, and where it is."""

    name: str
    place: str
    """Folder or address."""
    revision: str = ""
    """Of workflows that name none; "" = its default branch, or the folder as it is."""
    default: bool = False
    """Workflows that name no repository are in this one."""
    error: str = ""
    """Why it can't be read, or could not be refreshed."""

"""How large a workflow may become."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class ExpansionLimits:
    """Limits of one expansion. More than that is an error of the template."""

    roles: int = 200_000
    copies: int = 100_000
    """Roles that one iterator makes."""
    steps: int = 20_000_000
    """Steps of all texts together, four characters of a result being one. Real workflows need 100 for each role."""
    characters: int = 64 << 20
    """Text of all templates together."""
    depth: int = 48
    """Roles inside each other."""
    includes: int = 16
    """Includes inside each other."""

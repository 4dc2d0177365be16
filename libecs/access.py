"""Who may ask for what: roles, principals, and the one table of verbs.

The core checks each request against `VERBS`, on the very object that it executes; what is not listed is denied. Docs,
tests and help are made from the same table. A *scope* narrows an operator to detectors: an environment that holds
others is not his.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs


class Role(IntEnum):
    """What somebody may do in general. The numbers are stored; they are no order."""

    VIEWER = 1
    """Reads; values of secrets are masked."""
    OPERATOR = 2
    """Makes, controls and ends environments of the detectors in scope, and takes their locks."""
    ADMIN = 3
    """All of it: keys, nodes, repositories, other people's locks."""
    SERVICE = 4
    """A program: reads, and annotates runs."""
    NODE = 5
    """An executor: speaks the node link for its own node, and nothing else."""


@attrs.frozen(kw_only=True)
class Principal:
    """Somebody whose key is known. It comes from the link, never out of a message."""

    name: str
    """User, service or node; "" = the owner of an embedded control system, whose messages say who asks."""
    role: Role
    detectors: frozenset[str] | None = None
    """Scope; None = all."""
    key: str = ""
    """First 8 characters of the public key, for the audit log."""
    via: str = ""
    """How the request came: `client`, `web`, `timer`."""


OWNER = Principal(name="", role=Role.ADMIN)
"""Who uses a control system inside of his own process."""


@attrs.frozen(kw_only=True)
class Verb:
    """One kind of request."""

    roles: frozenset[Role]
    locks: bool = False
    """It touches an environment: the locks of its detectors count, and the scope."""


_READERS = frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.SERVICE})
_OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})
_WRITERS = frozenset({Role.OPERATOR, Role.ADMIN, Role.SERVICE})

VERBS: Mapping[str, Verb] = {
    # requests that change something: name of the message class
    "Create": Verb(roles=_OPERATORS, locks=True),
    "Control": Verb(roles=_OPERATORS, locks=True),
    "Destroy": Verb(roles=_OPERATORS, locks=True),
    "Reconfigure": Verb(roles=_OPERATORS, locks=True),
    "Modify": Verb(roles=_OPERATORS, locks=True),
    "Lock": Verb(roles=_OPERATORS),
    "Unlock": Verb(roles=_OPERATORS),
    "EndTasks": Verb(roles=_OPERATORS, locks=True),
    "Annotate": Verb(roles=_WRITERS),
    "Drain": Verb(roles=_ADMINS),
    "Lock.force": Verb(roles=_ADMINS),
    "Unlock.force": Verb(roles=_ADMINS),
    # work of the core's host: "Work." + its name
    "Work.key.invite": Verb(roles=_ADMINS),
    "Work.key.approve": Verb(roles=_ADMINS),
    "Work.key.revoke": Verb(roles=_ADMINS),
    "Work.key.rotate": Verb(roles=_READERS),  # of one's own keys
    "Work.key.core": Verb(roles=_ADMINS),
    "Work.repository.add": Verb(roles=_ADMINS),
    "Work.repository.remove": Verb(roles=_ADMINS),
    "Work.repository.refresh": Verb(roles=_OPERATORS),
    "Work.repository.default": Verb(roles=_ADMINS),
    # questions
    "Show": Verb(roles=_READERS),
    "ShowRuns": Verb(roles=_READERS),
    "ShowEvents": Verb(roles=_READERS),
    "ShowLocks": Verb(roles=_READERS),
    "ShowNodes": Verb(roles=_READERS),
    "ShowTasks": Verb(roles=_READERS),
    "ShowOperations": Verb(roles=_READERS),
    "ReadLog": Verb(roles=_READERS),
    "Subscribe": Verb(roles=_READERS),
    "Watch": Verb(roles=_READERS),
    "Follow": Verb(roles=_READERS),
    "Info": Verb(roles=_READERS),
    "Ping": Verb(roles=_READERS),
    # what the core's host looks up: "Consult." + its subject
    "Consult.template.list": Verb(roles=_READERS),
    "Consult.template.show": Verb(roles=_READERS),
    "Consult.template.expand": Verb(roles=_READERS),
    "Consult.template.lint": Verb(roles=_READERS),
    "Consult.template.form": Verb(roles=_READERS),
    "Consult.environment.plan": Verb(roles=_READERS),
    "Consult.role.query": Verb(roles=_READERS),
    "Consult.repository.list": Verb(roles=_READERS),
    "Consult.key.list": Verb(roles=_ADMINS),
    "Consult.audit.tail": Verb(roles=_ADMINS),
}
"""Everything that may be asked for."""


def may(principal: Principal, verb: str) -> bool:
    """Whether the role of somebody allows a verb at all. What is not listed is allowed to nobody."""
    known = VERBS.get(verb)
    return known is not None and principal.role in known.roles


def in_scope(principal: Principal, detectors: frozenset[str]) -> bool:
    """Whether all of these detectors are somebody's."""
    return principal.detectors is None or detectors <= principal.detectors

"""Addresses of workflow repositories: `host/user/repository[@revision]`, `host:user/repository`, or a folder."""

from __future__ import annotations

from enum import Enum

import attrs

from libecs.errors import InvalidInput


class Transport(Enum):
    """How a repository is reached."""

    HTTPS = "https"
    SSH = "ssh"
    FOLDER = "folder"


@attrs.frozen(kw_only=True)
class Address:
    """Where a repository is."""

    name: str
    """Without a revision and without `.git`: what people call it, and where its mirror is kept."""
    transport: Transport
    revision: str = ""

    @property
    def url(self) -> str:
        """What git is given."""
        if self.transport is Transport.HTTPS:
            return f"https://{self.name}.git"
        if self.transport is Transport.SSH:
            return f"git@{self.name}.git"
        return self.name


def parse_address(text: str) -> Address:
    """Read the address of a repository.

    Raises:
        InvalidInput: it has two revisions, too few parts, or a part that can't be one.
    """
    body, *revisions = text.strip().split("@")
    if len(revisions) > 1:
        raise InvalidInput(f"repository {text!r} has more than one revision", hint="write repository@revision")
    revision = revisions[0] if revisions else ""
    if revisions and (not revision or revision.startswith("-")):
        raise InvalidInput(f"repository {text!r} has no revision behind the @")
    name = body.rstrip("/").removesuffix(".git")
    if name.startswith(("/", "./", "../")):
        return Address(name=name, transport=Transport.FOLDER, revision=revision)
    host, _, path = name.partition("/")
    transport = Transport.SSH if ":" in host else Transport.HTTPS
    parts = name.replace(":", "/", 1).split("/") if transport is Transport.SSH else name.split("/")
    if name.count(":") > (transport is Transport.SSH) or any(not part or part.startswith(("-", ".")) for part in parts):
        raise InvalidInput(f"repository {text!r} is no host/user/repository")
    if transport is Transport.HTTPS and "." not in host:
        raise InvalidInput(f"repository {text!r}: {host!r} is no host", hint="a folder begins with / or ./")
    if len(parts) < 3 or not path:
        raise InvalidInput(f"repository {text!r} needs three parts: host/user/repository")
    return Address(name=name, transport=transport, revision=revision)

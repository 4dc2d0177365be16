"""As which user a task may run: the one that the node's owner has named, and those that he allows templates to name."""

from __future__ import annotations

import os
import pwd

import attrs

from libecs.errors import Denied, InvalidInput
from libecs.wire.node import TaskSpec


@attrs.frozen(kw_only=True)
class UserPolicy:
    """What users a node has for its tasks. Nobody is root unless root is named."""

    host: str
    """For messages."""
    default: str = ""
    """Of tasks that name nobody; "" = the executor's own, if that is not root."""
    allowed: tuple[str, ...] = ()
    """Whom templates may name, besides."""
    uid: int = attrs.field(factory=os.geteuid)
    """Of the executor."""

    def check(self) -> None:
        """Raise InvalidInput if a user that was named does not exist, or can't be had."""
        for name in (self.default, *self.allowed):
            if name and _find(name) is None:
                raise InvalidInput(f"there is no user {name!r} on {self.host}")
        default = _find(self.default)
        if default is not None and self.uid not in (0, default.pw_uid):
            raise InvalidInput(
                f"tasks cannot run as user {self.default}: only root may switch users, and this is {self._own()}",
                hint=f"run the executor as {self.default}, or as root",
            )

    def admit(self, spec: TaskSpec) -> TaskSpec:
        """Return what is to be launched: `spec` with its user, and with the variables that tell a program its user.

        Raises:
            Denied: it may not run as that user, or nobody can tell as whom. The message names user, role and host.
        """
        wanted = spec.command.user or self.default
        if not wanted and self.uid == 0:
            raise Denied(
                f"role {spec.role} names no user, and on {self.host} nothing runs as root: "
                "name a user in the executor's settings (user = NAME) or in the template"
            )
        found = _find(wanted or str(self.uid))
        if found is None:
            if not wanted:
                return spec  # a user without a name, as in containers
            raise Denied(f"role {spec.role} cannot run as user {wanted} on {self.host}: there is no such user")
        if found.pw_uid not in self._uids():
            raise Denied(
                f"role {spec.role} may not run as user {wanted} on {self.host}: allow it there "
                f"(ecs-executord --allow-user {found.pw_name})"
            )
        if self.uid not in (0, found.pw_uid):
            raise Denied(
                f"role {spec.role} cannot run as user {wanted} on {self.host}: "
                f"only root may switch users, and the executor there is {self._own()}"
            )
        if found.pw_uid == self.uid:
            return attrs.evolve(spec, command=attrs.evolve(spec.command, user=""))
        who = {"HOME": found.pw_dir, "USER": found.pw_name, "LOGNAME": found.pw_name}
        command = attrs.evolve(spec.command, user=found.pw_name, environment={**who, **spec.command.environment})
        return attrs.evolve(spec, command=command)

    def _uids(self) -> frozenset[int]:
        named = [_find(name) for name in (self.default, *self.allowed) if name]
        uids = {entry.pw_uid for entry in named if entry is not None}
        if self.uid != 0:
            uids.add(self.uid)
        return frozenset(uids)

    def _own(self) -> str:
        found = _find(str(self.uid))
        return f"user {found.pw_name if found else self.uid}"


def _find(name: str) -> pwd.struct_passwd | None:
    """Return the user of a name or a number."""
    try:
        return pwd.getpwuid(int(name)) if name.isascii() and name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError, ValueError):
        return None

"""Why a link does not come up, in words that tell one cause from another."""

from __future__ import annotations

from enum import Enum

import attrs

from libecs.errors import Denied, EcsError, Unreachable

SHOWN_KEY = 8
"""Characters of a public key that people see."""


class Refusal(Enum):
    """What is wrong with a link."""

    WRONG_KEY = "wrong key"
    """The core does not know our key: not approved yet, or revoked."""
    NO_KEY = "no key"
    """The core wants a key and we have none."""
    WRONG_CORE = "wrong core"
    """It has another key than the one that we pinned."""
    INSECURE = "insecure"
    """We have a key, and the other side speaks without."""
    NOT_A_CORE = "not a core"
    """Something answers that does not speak our protocol."""
    REFUSED = "refused"
    """The machine is there; nobody listens on that port."""
    UNREACHABLE = "unreachable"
    """No way there, or no answer from the machine."""
    UNKNOWN_HOST = "unknown host"
    """The name means nothing."""
    SILENT = "silent"
    """The connection is taken, and then nothing is said."""


_DENIED = frozenset({Refusal.WRONG_KEY, Refusal.NO_KEY, Refusal.WRONG_CORE, Refusal.INSECURE, Refusal.NOT_A_CORE})


@attrs.frozen(kw_only=True)
class Trouble:
    """Why one attempt to come to a core failed."""

    refusal: Refusal
    endpoint: str
    key: str = ""
    """Our public key, its first characters."""
    expected: str = ""
    """The core's public key that we pinned, its first characters."""
    detail: str = ""
    """What the system said."""

    @property
    def sentence(self) -> str:
        """What is wrong, without what to do."""
        place, detail = self.endpoint, self.detail or "no reason given"
        match self.refusal:
            case Refusal.WRONG_KEY:
                return f"the core at {place} refused key {self.key} (not approved, or revoked)"
            case Refusal.NO_KEY:
                return f"you have no key for {place}, and the core there wants one"
            case Refusal.WRONG_CORE:
                return f"{place} is not the core you pinned: it does not have key {self.expected}"
            case Refusal.INSECURE:
                return f"the core at {place} speaks without keys (--insecure), and key {self.expected} was expected"
            case Refusal.NOT_A_CORE:
                return f"what answers at {place} is no core: {detail}"
            case Refusal.SILENT:
                return f"nobody answers at {place}: the connection is taken, and then nothing is said"
            case _:
                return f"nobody answers at {place}: {detail}"

    def hint(self, name: str = "NAME", kind: str = "key") -> str:
        """Return what to do about it. `kind`: `key` for users and services, `node` for executors."""
        join = "coconut login TOKEN" if kind == "key" else "ecs-executord join TOKEN"
        match self.refusal:
            case Refusal.WRONG_KEY:
                return f"ask an admin: coconut {kind} approve {name}"
            case Refusal.NO_KEY:
                return f"{join}, with a token of: coconut {kind} invite {name}"
            case Refusal.WRONG_CORE:
                return (
                    "if the core was set up anew, or got another key while you were away, join it again: "
                    f"{join}, with a token of: coconut {kind} invite {name} --rotate; if not, somebody else answers in "
                    "its place"
                )
            case Refusal.INSECURE:
                return "start it without --insecure, or leave your keys out with --insecure"
            case Refusal.NOT_A_CORE | Refusal.UNKNOWN_HOST:
                return "look at the address of the core in your settings"
            case Refusal.SILENT:
                return "the core may be overloaded or stopped: look at its log; or something else listens there"
            case _:
                return "is ecsd running there, and does the network let you through?"

    def error(self, name: str = "NAME", kind: str = "key") -> EcsError:
        """Return it as an error: Denied when the other side is there and does not want us, else Unreachable."""
        cls = Denied if self.refusal in _DENIED else Unreachable
        return cls(self.sentence, hint=self.hint(name, kind))

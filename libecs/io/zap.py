"""Who may finish a handshake: our responder to ZAP, ZeroMQ's question about the key of each new peer (its RFC 27).

A socket with CURVE and a domain asks `inproc://zeromq.zap.01` of its context before it lets a peer in. With
ZAP_ENFORCE_DOMAIN nobody is let in while nobody answers: so the responder is started before the first bind, and when it
has died everything is closed, not open. Links that are up already are not asked about again: whoever receives looks
each message's key up in the keyring, and drops all of them when `alive` is False.

A domain without a policy lets nobody in, and so does every mechanism but CURVE. The answer's User-Id, which ZeroMQ
fastens to each message of the peer, is its public key in z85: nothing that the peer chose.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import attrs

from libecs.io.keys import Keyring, z85
from libecs.io.link import Context, Router
from libecs.io.link.door import plain_address

logger = logging.getLogger(__name__)

ENDPOINT = "inproc://zeromq.zap.01"
ECS_DOMAIN = "ecs"
"""Of sockets that only known keys may talk to."""
LOBBY_DOMAIN = "lobby"
"""Of the socket for enrolment, which any key may talk to."""
_KEY_BYTES = 32
_VERSION = b"1.0"

Policy = Callable[[str, str], bool]
"""Whether a public key (z85) at an address (IP, without port) may finish its handshake. Does not block."""


@attrs.frozen(kw_only=True)
class Handshake:
    """What ZeroMQ asks about."""

    domain: str
    address: str
    key: str
    """Public key, z85; "" if there is none, or the mechanism is another one."""


class ZapResponder:
    """Answers for all sockets of one context. Make it before the first of them is bound; close it after the last."""

    def __init__(
        self,
        context: Context,
        policies: Mapping[str, Policy],
        *,
        on_refusal: Callable[[Handshake], None] | None = None,
    ) -> None:
        """Call inside of a running event loop.

        Args:
            context: of `new_context`.
            policies: domain to who is let in.
            on_refusal: called for each handshake that is refused.
        """
        self._policies = dict(policies)
        self._on_refusal = on_refusal
        self.accepted = 0
        self.refused = 0
        self.alive = True
        """False: no new peer is let in any more, and the messages of those that are in are to be dropped."""
        self._router = Router(context, self._asked)
        self._router.bind(ENDPOINT)

    def close(self) -> None:
        """Answer no more: from now on all handshakes fail."""
        self.alive = False
        self._router.close()

    def _asked(self, peer: bytes, frames: list[bytes]) -> None:
        if len(frames) < 3 or frames[1] != _VERSION:
            logger.error("ZAP: a question that is none")
            return
        envelope, version, request = frames[:3]
        handshake = _handshake(frames)
        if self._admits(handshake):
            self.accepted += 1
            answer = [b"200", b"OK", handshake.key.encode(), b""]
        else:
            self.refused += 1
            answer = [b"400", b"No access", b"", b""]
            if self._on_refusal is not None:
                self._on_refusal(handshake)
        self._router.send(peer, [envelope, version, request, *answer])

    def _admits(self, handshake: Handshake) -> bool:
        policy = self._policies.get(handshake.domain)
        if policy is None or not handshake.key:
            return False
        try:
            return policy(handshake.key, handshake.address) is True
        except Exception:
            logger.exception("ZAP: the policy of domain %r failed: refused", handshake.domain)
            return False


def known_keys(keyring: Keyring) -> Policy:
    """Return the policy that lets in whose key is approved."""
    return lambda key, address: keyring.principal(key) is not None


def any_key(key: str, address: str) -> bool:
    """Let everybody in who has some key, for the lobby."""
    return True


def _handshake(frames: list[bytes]) -> Handshake:
    """Read `["", version, request, domain, address, routing id, mechanism, credentials…]`."""
    domain, address = (frame.decode("utf-8", "replace") for frame in (frames + [b""] * 2)[3:5])
    is_curve = len(frames) == 8 and frames[6] == b"CURVE" and len(frames[7]) == _KEY_BYTES
    return Handshake(domain=domain, address=plain_address(address), key=z85(frames[7]) if is_curve else "")

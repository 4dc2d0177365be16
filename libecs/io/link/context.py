"""The context of ZeroMQ, which all sockets of one control system share, and the keys of CURVE."""

from __future__ import annotations

import resource

import attrs
import zmq

from libecs.errors import InvalidInput

Context = zmq.Context[zmq.Socket[bytes]]

_ZERO_COPY_RECV = 10
"""Option of a context, in libzmq since 4.3.2; pyzmq has no name for it."""
HEARTBEAT_MS = 500
BOUND_HEARTBEAT_MS = 2000
HEARTBEAT_TIMEOUT_MS = 1500


def raise_limits() -> None:
    """Allow this process as many files as it may have: a node of 1000 tasks needs a few per task."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def new_context() -> Context:
    """Make a context for many sockets. Whoever makes it ends it by `close_context`."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, min(65535, context.get(zmq.SOCKET_LIMIT)))
    # Else a message that waits to be received keeps all of the 8 KiB alive that it was read with: 250 tasks that told
    # a hundred small things each while we were busy took half a gigabyte.
    context.set(_ZERO_COPY_RECV, 0)
    return context


def close_context(context: Context) -> None:
    """End a context; what was not sent yet is dropped."""
    context.destroy(linger=0)


def version() -> str:
    """Return the version of the libzmq in use, for `doctor`."""
    return zmq.zmq_version()


def new_keys() -> tuple[str, str]:
    """Make a pair of keys: public and secret, each 40 characters of z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def public_key(secret: str) -> str:
    """Return the public key that belongs to a secret one.

    Raises:
        InvalidInput: it is no key.
    """
    try:
        return zmq.curve_public(secret.encode()).decode()
    except (ValueError, zmq.ZMQError):
        raise InvalidInput("a secret key is 40 characters of z85, and this is none") from None


@attrs.frozen(kw_only=True)
class ServerCurve:
    """How a socket that binds proves who it is, and asks who dials it."""

    secret: str = attrs.field(repr=False)
    domain: str
    """Of ZAP: whoever answers for the context is asked about each key with it; while nobody answers, nobody is let
    in."""

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Set up a socket that was not bound yet."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret.encode())
        socket.setsockopt(zmq.ZAP_DOMAIN, self.domain.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


@attrs.frozen(kw_only=True)
class ClientCurve:
    """How somebody who dials proves who he is, and whom he expects."""

    public: str
    secret: str = attrs.field(repr=False)
    server: str
    """Public key of the other side."""
    next_server: str = ""
    """The one that it will have after that, if it has told so. Who has either is believed."""

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Set up a socket that dials nobody yet. Raises InvalidInput: one of the keys is none."""
        try:
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret.encode())
            socket.setsockopt(zmq.CURVE_SERVERKEY, self.server.encode())
        except zmq.ZMQError:
            raise InvalidInput("a key is 40 characters of z85; one of those given is none") from None


def set_heartbeats(socket: zmq.Socket[bytes], *, binds: bool = False) -> None:
    """Let a socket that dials notice within 2 s that its peer is gone, one that binds within 3.5 s.

    Each heartbeat is a frame that is encrypted and a call of the system at either end, and so is its answer: at a core
    with a thousand peers they are a third of what it does when nothing happens. Who dials must know soon, because he
    dials again; who binds must know at all, and can't leave it to the time to live of the other side's heartbeats:
    libzmq (4.3.5) forgets that with whatever comes next, if it is no heartbeat.
    """
    socket.setsockopt(zmq.HEARTBEAT_IVL, BOUND_HEARTBEAT_MS if binds else HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    if not binds:
        socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)

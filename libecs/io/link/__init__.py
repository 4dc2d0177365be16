"""ZeroMQ on an asyncio event loop, and CURVE with it. Nobody else imports zmq.

context   what all sockets share; limits and keys
pump      looks at a socket when it may have changed
router    many peers at one socket: tasks that we dial, clients and executors that dial us
dialer    one peer, dialled for ever
trouble   why it does not come up; `probe` finds it out
monitor   what libzmq tells of connections; `door` counts those of a bound socket
"""

from libecs.io.link.context import (
    ClientCurve,
    Context,
    ServerCurve,
    close_context,
    new_context,
    new_keys,
    public_key,
    raise_limits,
    version,
)
from libecs.io.link.dialer import Dialer
from libecs.io.link.door import Failed
from libecs.io.link.pump import MAX_PARTS, MAX_PUMP_FRAMES, Gather
from libecs.io.link.router import Origin, Router
from libecs.io.link.trouble import Refusal, Trouble

__all__ = [
    "MAX_PARTS",
    "MAX_PUMP_FRAMES",
    "ClientCurve",
    "Context",
    "Dialer",
    "Failed",
    "Gather",
    "Origin",
    "Refusal",
    "Router",
    "ServerCurve",
    "Trouble",
    "close_context",
    "new_context",
    "new_keys",
    "public_key",
    "raise_limits",
    "version",
]

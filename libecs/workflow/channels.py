"""Channels: which a task has, where they lead, and the properties that tell it so.

Inbound channels bind to an address that placement gives them; outbound ones name the channel to connect to, as
`role.path:channel` or `::alias`, or give an address themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from libecs.errors import TemplateError
from libecs.workflow.role import Channel, Mode, Role, Workflow

ADDRESS_SCHEMES = ("tcp://", "ipc://")
_CONTROLLED = (Mode.DIRECT, Mode.FAIRMQ)
_ANY_HOST = ("tcp://*:", "tcp://0.0.0.0:")


@attrs.frozen(kw_only=True)
class Endpoint:
    """Address of an inbound channel, as its owner binds to it and as others connect to it."""

    bind: str
    """`tcp://*:port` or `ipc://name`."""
    connect: str
    """`tcp://host:port` or `ipc://name`."""


@attrs.frozen(kw_only=True)
class Bound:
    """An inbound channel that others may connect to."""

    role: int
    """Index of the task in `Workflow.roles`."""
    channel: Channel


def collect(own: Iterable[Channel], inherited: Iterable[Channel]) -> tuple[Channel, ...]:
    """Return own channels, then inherited ones of other names. The first of a name wins entirely."""
    found: dict[str, Channel] = {}
    for channel in (*own, *inherited):
        found.setdefault(channel.name, channel)
    return tuple(found.values())


def has_channels(role: Role) -> bool:
    """Return whether the channels of this role mean anything: basic and hook tasks are never told of any."""
    return role.task is not None and role.task.mode in _CONTROLLED


def is_address(target: str) -> bool:
    """Return whether `target` is an address itself, not the name of a channel."""
    return target.startswith(ADDRESS_SCHEMES)


def bound(workflow: Workflow) -> dict[str, Bound]:
    """Return all that can be connected to: "role.path:channel" and "::alias" to the inbound channel.

    Raises:
        TemplateError: an alias stands for two channels.
    """
    table: dict[str, Bound] = {}
    for index, role in enumerate(workflow.roles):
        if not has_channels(role):
            continue
        for channel in role.bind:
            entry = Bound(role=index, channel=channel)
            table[f"{role.path}:{channel.name}"] = entry
            if not channel.global_:
                continue
            alias = f"::{channel.global_}"
            if alias in table:
                other = table[alias]
                raise TemplateError(
                    f"the global channel name {channel.global_!r} of channel {channel.name!r} is taken by channel "
                    f"{other.channel.name!r} of {workflow.roles[other.role].path}",
                    file=role.file,
                    line=role.line,
                    path=role.path,
                    hint="each global name stands for one channel; let it hold the name of the host or role",
                )
            table[alias] = entry
    return table


def check(workflow: Workflow) -> None:
    """Check that every outbound channel leads somewhere.

    Raises:
        TemplateError: one doesn't, or a global name is taken twice.
    """
    table = bound(workflow)
    for role in workflow.roles:
        if not has_channels(role):
            continue
        for channel in role.connect:
            if not is_address(channel.target) and channel.target not in table:
                raise _unmatched(workflow, role, channel, table)


class Wiring:
    """The channel properties of the controlled tasks of one workflow, made for each task when it is asked for.

    Only `rateLogging` may still hold {{ }}. A task whose inbound channels have no endpoint does not run (a
    non-critical one that could not be placed), and is told of none. A non-critical task is not told of a channel whose
    other end does not run.
    """

    def __init__(
        self,
        workflow: Workflow,
        endpoint: Callable[[int, str], Endpoint | None],
        may_lack: Callable[[int], bool] = lambda index: False,
    ) -> None:
        """`endpoint`: gives role index and channel name the addresses of an inbound channel, None if it has none.
        `may_lack`: whether a task that others connect to may be absent; then these are told of no such channel.
        """
        self._workflow = workflow
        self._endpoint = endpoint
        self._may_lack = may_lack
        self._write = _PropertyWriter()
        self._tasks = {role.path: index for index, role in enumerate(workflow.roles) if has_channels(role)}
        self._aliases = {
            f"::{channel.global_}": (index, channel)
            for index in self._tasks.values()
            for channel in workflow.roles[index].bind
            if channel.global_
        }

    def properties(self, index: int) -> dict[str, str] | None:
        """Return what role number `index` is told of its channels; None if it gets no channels or does not run.

        Raises:
            TemplateError: an outbound channel leads nowhere, or, of a critical task, to a task that does not run.
        """
        role = self._workflow.roles[index]
        if not has_channels(role):
            return None
        properties: dict[str, str] = {}
        for channel in role.bind:
            endpoint = self._endpoint(index, channel.name)
            if endpoint is None:
                return None
            self._write(properties, channel, "bind", channel.target or endpoint.bind, channel.transport)
        for channel in role.connect:
            address, transport = channel.target, channel.transport
            if not is_address(address):
                index, address, transport = self._other_end(role, channel)
                if not address and (not role.critical or self._may_lack(index)):
                    continue
                if not address:
                    raise TemplateError(
                        f"channel {channel.name!r} connects to {channel.target!r}, whose task does not run",
                        file=role.file,
                        line=role.line,
                        path=role.path,
                    )
            self._write(properties, channel, "connect", address, transport)
        return properties

    def _other_end(self, role: Role, channel: Channel) -> tuple[int, str, str]:
        """Return role, address ("" = it does not run) and transport of what an outbound channel connects to."""
        index, inbound = self._aliases.get(channel.target, (-1, None))
        if inbound is None:
            path, _, name = channel.target.rpartition(":")
            index = self._tasks.get(path, -1)
            known = self._workflow.roles[index].bind if index >= 0 else ()
            inbound = next((one for one in known if one.name == name), None)
        if inbound is None:
            raise _unmatched(self._workflow, role, channel, bound(self._workflow))
        endpoint = self._endpoint(index, inbound.name)
        if endpoint is None:
            return index, "", inbound.transport
        address = _reachable(inbound.target, endpoint) if inbound.target else endpoint.connect
        return index, address, inbound.transport


def resolve(workflow: Workflow, endpoints: Mapping[tuple[str, str], Endpoint]) -> dict[str, dict[str, str]]:
    """Return the channel properties of every controlled task that runs, by role path: see Wiring.

    Args:
        workflow: an expanded workflow.
        endpoints: (role path, channel name) to addresses, for the inbound channels of all tasks that run.

    Raises:
        TemplateError: an outbound channel leads nowhere, or, of a critical task, to a task that does not run.
    """
    wiring = Wiring(workflow, lambda index, name: endpoints.get((workflow.roles[index].path, name)))
    made = ((role.path, wiring.properties(index)) for index, role in enumerate(workflow.roles))
    return {path: properties for path, properties in made if properties is not None}


def channel_properties(channel: Channel, method: str, address: str, transport: str) -> Iterator[tuple[str, str]]:
    """Go through the properties of one channel, in FairMQ's spelling."""
    prefix = f"chans.{channel.name}."
    yield prefix + "numSockets", "1"
    prefix += "0."
    yield prefix + "address", address
    yield prefix + "method", method
    yield prefix + "rateLogging", channel.rate_logging
    yield prefix + "rcvBufSize", str(channel.receive_buffer)
    yield prefix + "rcvKernelSize", "0"
    yield prefix + "sndBufSize", str(channel.send_buffer)
    yield prefix + "sndKernelSize", "0"
    yield prefix + "transport", transport
    yield prefix + "type", channel.type
    if method == "bind":
        yield prefix + "autoBind", "0"


class _PropertyWriter:
    """Writes the properties of channels. A hundred thousand tasks have the same few channels but for the address."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, int, int, str, str], tuple[str, dict[str, str]]] = {}

    def __call__(self, properties: dict[str, str], channel: Channel, method: str, address: str, transport: str) -> None:
        """Add the properties of one channel to `properties`."""
        buffers = (channel.send_buffer, channel.receive_buffer)
        key = (channel.name, channel.type, channel.rate_logging, *buffers, method, transport)
        known = self._known.get(key)
        if known is None:
            found = dict(channel_properties(channel, method, "", transport))
            known = self._known[key] = (f"chans.{channel.name}.0.address", found)
        properties.update(known[1])
        properties[known[0]] = address


def _reachable(target: str, endpoint: Endpoint) -> str:
    """Return a fixed address as others see it: "any host" is the host that placement chose."""
    for prefix in _ANY_HOST:
        if target.startswith(prefix):
            host = endpoint.connect.removeprefix("tcp://").rpartition(":")[0]
            return f"tcp://{host}:{target.removeprefix(prefix)}"
    return target


def _unmatched(workflow: Workflow, role: Role, channel: Channel, table: Mapping[str, Bound]) -> TemplateError:
    if not channel.target:
        return TemplateError(
            f"outbound channel {channel.name!r} has no target",
            file=role.file,
            line=role.line,
            path=role.path,
            hint="a task template can't know it: repeat the channel under `connect:` of the role, with `target:`",
        )
    path, _, name = channel.target.rpartition(":")
    hint = "write role.path:channel, ::alias, tcp://host:port or ipc://name"
    found = next((other for other in workflow.roles if other.path == path), None)
    if channel.target.startswith("::"):
        aliases = sorted(key[2:] for key in table if key.startswith("::"))
        hint = f"global names of this workflow: {', '.join(aliases[:20]) or 'none'}"
    elif found is not None and found.task is None:
        hint = f"{path} is no task; name the task that binds {name!r}"
    elif found is not None and not has_channels(found):
        hint = f"{path} is a {found.task.mode.name.lower() if found.task else ''} task, which gets no channels"
    elif found is not None:
        hint = f"{path} binds {', '.join(other.name for other in found.bind) or 'nothing'}"
    elif path:
        hint = f"there is no role {path}: is it disabled, or renamed?"
    return TemplateError(
        f"channel {channel.name!r} connects to {channel.target!r}, which is no channel of this workflow",
        file=role.file,
        line=role.line,
        path=role.path,
        hint=hint,
    )

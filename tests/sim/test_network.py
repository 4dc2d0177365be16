from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from libecs.sim.agenda import Agenda
from libecs.sim.history import History
from libecs.sim.network import Connection, Faults, Network, Pair
from libecs.wire.node import NODE, Inquire, NodeKeepalive


def message(number: int) -> Inquire:
    return Inquire(session=number, epoch=1)


@pytest.fixture
def network() -> Network:
    agenda = Agenda()
    return Network(agenda, History(agenda), Random(1))


def noting(got: list[int]) -> Callable[[object], None]:
    """Return what takes messages, and notes their numbers."""

    def note(message: object) -> None:
        assert isinstance(message, Inquire)
        got.append(message.session)

    return note


def connect(network: Network, faults: Faults) -> tuple[Connection, list[int]]:
    got: list[int] = []
    return Connection(network, NODE, faults, "a>b", noting(got)), got


def test_a_perfect_connection_delivers_everything_once_and_in_order(network: Network) -> None:
    connection, got = connect(network, Faults(delay_s=(0.0, 0.1)))

    for n in range(200):
        connection.send(message(n))
    network.agenda.run_until(1.0)

    assert got == list(range(200))


def test_loss_loses_some_and_keeps_the_order_of_the_rest(network: Network) -> None:
    connection, got = connect(network, Faults(loss=0.3))

    for n in range(200):
        connection.send(message(n))
    network.agenda.run_until(1.0)

    assert 0 < len(got) < 200
    assert got == sorted(got)
    assert network.traffic.lost == 200 - len(got)


def test_duplicates_arrive_twice(network: Network) -> None:
    connection, got = connect(network, Faults(duplicate=0.3))

    for n in range(200):
        connection.send(message(n))
    network.agenda.run_until(2.0)

    assert set(got) == set(range(200))
    assert sorted(set(got), key=got.index) == list(range(200))  # the first copies keep their order
    assert len(got) == 200 + network.traffic.duplicated > 200


def test_reordering_changes_the_order_and_loses_nothing(network: Network) -> None:
    connection, got = connect(network, Faults(delay_s=(0.0, 0.1), reorder=0.5))

    for n in range(200):
        connection.send(message(n))
    network.agenda.run_until(1.0)

    assert got != sorted(got)
    assert sorted(got) == list(range(200))
    assert network.traffic.reordered > 0


def test_late_messages_take_their_time(network: Network) -> None:
    connection, got = connect(network, Faults(late=1.0, late_s=(0.5, 0.6)))

    connection.send(message(1))
    network.agenda.run_until(0.4)
    assert got == []
    network.agenda.run_until(0.7)

    assert got == [1]


def test_a_cut_loses_what_is_on_the_way_and_all_that_follows(network: Network) -> None:
    connection, got = connect(network, Faults())

    connection.send(message(1))
    connection.cut()
    connection.send(message(2))
    network.agenda.run_until(1.0)

    assert got == []


def test_a_blocked_direction_is_silent_and_the_other_one_works(network: Network) -> None:
    to_a: list[int] = []
    to_b: list[int] = []
    pair = Pair(network, NODE, Faults(), "a", "b", noting(to_a), noting(to_b))
    pair.block(to_a=True, to_b=False)

    pair.to_a.send(message(1))
    pair.to_b.send(message(2))
    network.agenda.run_until(1.0)
    pair.block(to_a=False, to_b=False)
    pair.to_a.send(message(3))
    network.agenda.run_until(2.0)

    assert to_a == [3]
    assert to_b == [2]
    assert pair.open


def test_messages_go_through_the_codec_unless_it_is_off(network: Network) -> None:
    given = message(7)
    arrived: list[object] = []

    Connection(network, NODE, Faults(), "a>b", arrived.append).send(given)
    network.codec = False
    Connection(network, NODE, Faults(), "a>b", arrived.append).send(given)
    network.agenda.run_until(1.0)

    assert arrived == [given, given]
    assert sorted(one is given for one in arrived) == [False, True]


def test_healing_ends_all_faults(network: Network) -> None:
    network.node_faults.loss = network.task_faults.duplicate = network.client_faults.late = 1.0

    network.heal()

    connection, got = connect(network, network.node_faults)
    connection.send(message(1))
    network.agenda.run_until(1.0)
    assert got == [1]
    assert network.task_faults.duplicate == network.client_faults.late == 0.0


def test_keepalives_are_not_worth_a_line(network: Network) -> None:
    connection, _ = connect(network, Faults())

    connection.send(NodeKeepalive(session=1, sequence=1))
    connection.send(message(1))

    assert [line.what for line in network.history.lines] == ["send"]

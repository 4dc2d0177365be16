"""The hardware inventory. The first values are those of the vectors in the behaviour description."""

from __future__ import annotations

import pytest

from libecs.config.inventory import Inventory, host_list, json_list
from libecs.config.tree import Tree
from libecs.errors import InvalidInput, Missing, NotFound


@pytest.fixture
def inventory() -> Inventory:
    cards = '{"0": {"serial": "0228", "endpoint": "0"}, "1": {"serial": "0228", "endpoint": "1"}, '
    cards += '"2": {"serial": "0229", "endpoint": "0"}, "3": {"serial": "0229", "endpoint": "1"}}'
    detectors = {"ABC": {"flps": {"flp001": {"cards": "{}"}}}, "DEF": {"flps": {"flp002": {}, "flp003": "x"}}}
    return Inventory(Tree.of({"o2": {"hardware": {"detectors": detectors, "flps": {"flp001": {"cards": cards}}}}}))


def test_detectors_of_hosts(inventory: Inventory) -> None:
    assert inventory.detector_for_host("flp001") == "ABC"
    assert json_list(inventory.detectors_for_hosts(host_list('[ "flp001", "flp002" ]'))) == '["ABC","DEF"]'
    assert inventory.detectors_for_hosts(["flp003", "flp002"]) == ("DEF",)
    assert inventory.detectors_for_hosts([]) == ()


def test_hosts_and_detectors_are_listed(inventory: Inventory) -> None:
    assert inventory.detectors() == ("ABC", "DEF")
    assert inventory.hosts() == ("flp001", "flp002", "flp003")
    assert inventory.hosts("DEF") == ("flp002", "flp003")


def test_cards_and_endpoints(inventory: Inventory) -> None:
    assert inventory.cru_cards_for_host("flp001") == ("0228", "0229")
    assert inventory.endpoints_for_cru_card("flp001", "0228") == ("0", "1")


@pytest.mark.parametrize(
    ("method", "arguments", "reason"),
    [
        ("hosts", ("XYZ",), "there is no detector 'XYZ'"),
        ("detector_for_host", ("nobody",), "host 'nobody' belongs to no detector"),
        ("detectors_for_hosts", (["flp001", "nobody"],), "host 'nobody' belongs to no detector"),
        ("cru_cards_for_host", ("flp002",), "no cards of host 'flp002'"),
        ("endpoints_for_cru_card", ("flp001", "0777"), "host 'flp001' has no card '0777'"),
    ],
)
def test_unknown_names_raise(inventory: Inventory, method: str, arguments: tuple[object, ...], reason: str) -> None:
    with pytest.raises(NotFound, match=reason):
        getattr(inventory, method)(*arguments)


@pytest.mark.parametrize("text", ["flp001", "[1]", '{"a": 1}', ""])
def test_what_is_no_list_of_hosts_raises(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a JSON list of host names"):
        host_list(text)


@pytest.mark.parametrize("text", ["", "[]", '{"0": 1}', '{"0": {"serial": "1"}}'])
def test_unreadable_cards_raise(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not JSON of the form"):
        Inventory(Tree.of({"o2/hardware/flps/h/cards": text})).cards("h")


def test_a_partial_tree_is_asked_for_whole_folders() -> None:
    inventory = Inventory(Tree({}, complete=False))

    with pytest.raises(Missing) as caught:
        inventory.detector_for_host("flp001")
    assert caught.value.keys == ("o2/hardware/detectors/",)

"""The hardware inventory: which host belongs to which detector and which CRU cards are in it.

It lives in the key-value tree: `o2/hardware/detectors/<DET>/flps/<host>/…` and `o2/hardware/flps/<host>/cards`, a JSON
text {"0": {"serial": …, "endpoint": …}, …}. Unknown names raise: in AliECS they give an error text that then
travels on as if it were a detector or a card.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import attrs

from libecs.config.tree import Tree
from libecs.errors import InvalidInput, NotFound

DETECTORS = "o2/hardware/detectors/"
FLPS = "o2/hardware/flps/"
_LONGEST_SHOWN = 80


@attrs.frozen
class Card:
    """One endpoint of a CRU card."""

    serial: str
    endpoint: str


@attrs.define
class Inventory:
    """Answers about hosts, detectors and cards, read from `tree` once and then remembered."""

    tree: Tree
    _detector_of: dict[str, str] | None = attrs.field(default=None, init=False, repr=False)

    def detectors(self) -> tuple[str, ...]:
        """Return all detectors, sorted."""
        return self.tree.list(DETECTORS)

    def hosts(self, detector: str = "") -> tuple[str, ...]:
        """Return the hosts of a detector, or all hosts, sorted.

        Raises:
            NotFound: there is no such detector.
        """
        if not detector:
            return tuple(sorted(self._hosts()))
        if detector not in self.detectors():
            raise NotFound(
                f"inventory: there is no detector {detector!r}", hint=f"known: {', '.join(self.detectors()) or 'none'}"
            )
        return self.tree.list(f"{DETECTORS}{detector}/flps/")

    def detector_for_host(self, host: str) -> str:
        """Return the detector that `host` reads out.

        Raises:
            NotFound: the inventory doesn't know the host.
        """
        detector = self._hosts().get(host)
        if detector is None:
            raise NotFound(
                f"inventory: host {host!r} belongs to no detector",
                hint=f"add a key {DETECTORS}<DETECTOR>/flps/{host}/… to the configuration",
            )
        return detector

    def detectors_for_hosts(self, hosts: Iterable[str]) -> tuple[str, ...]:
        """Return the detectors of `hosts`, sorted, each once. Raises as `detector_for_host`."""
        return tuple(sorted({self.detector_for_host(host) for host in hosts}))

    def cards(self, host: str) -> tuple[Card, ...]:
        """Return all card endpoints in `host`, sorted.

        Raises:
            NotFound: the inventory knows no cards of this host.
            InvalidInput: what it holds is no JSON of the expected shape.
        """
        key = f"{FLPS}{host}/cards"
        text = self.tree.get(key)
        if text is None:
            raise NotFound(f"inventory: no cards of host {host!r} are known", hint=f"the key {key} does not exist")
        try:
            found = json.loads(text)
            cards = {Card(str(item["serial"]), str(item["endpoint"])) for item in found.values()}
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
            raise InvalidInput(
                f'inventory: {key} is not JSON of the form {{"0": {{"serial": "0228", "endpoint": "0"}}}}'
            ) from None
        return tuple(sorted(cards, key=lambda card: (card.serial, card.endpoint)))

    def cru_cards_for_host(self, host: str) -> tuple[str, ...]:
        """Return the serial numbers of the cards in `host`, sorted, each once. Raises as `cards`."""
        return tuple(dict.fromkeys(card.serial for card in self.cards(host)))

    def endpoints_for_cru_card(self, host: str, serial: str) -> tuple[str, ...]:
        """Return the endpoints of one card, sorted.

        Raises:
            NotFound: no such host or no such card in it.
        """
        cards = self.cards(host)
        endpoints = tuple(card.endpoint for card in cards if card.serial == serial)
        if not endpoints:
            known = ", ".join(dict.fromkeys(card.serial for card in cards)) or "none"
            raise NotFound(f"inventory: host {host!r} has no card {serial!r}", hint=f"its cards: {known}")
        return endpoints

    def _hosts(self) -> dict[str, str]:
        if self._detector_of is None:
            self._detector_of = {
                host: detector
                for detector in self.tree.list(DETECTORS)
                for host in self.tree.list(f"{DETECTORS}{detector}/flps/")
            }
        return self._detector_of


def host_list(text: str) -> list[str]:
    """Read a JSON list of host names.

    Raises:
        InvalidInput: it is none.
    """
    try:
        hosts = json.loads(text)
    except (ValueError, RecursionError):
        hosts = None
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        shown = repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]!r}…"
        raise InvalidInput(f"not a JSON list of host names: {shown}", hint='write it like ["flp001", "flp002"]')
    return hosts


def json_list(names: Iterable[str]) -> str:
    """Write names as a compact JSON list, as templates compare and iterate it."""
    return json.dumps(list(names), separators=(",", ":"), ensure_ascii=False)

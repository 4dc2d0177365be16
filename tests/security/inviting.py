"""A core that invites, and people who join."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libecs.access import Role
from libecs.engine.effects import Audit
from libecs.io.corekeys import NextKey, NextKeyFile
from libecs.io.keys import KeyPair, Keyring
from libecs.io.keywork import KeyWork
from libecs.io.link import Context
from libecs.io.lobby import Lobby
from libecs.io.token import Invitation, new_secret, proof_of
from libecs.io.zap import LOBBY_DOMAIN, ZapResponder, any_key


class Core:
    """What stands around a lobby in a core, with a clock that one turns."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context = context
        self.folder = folder
        self.pair = KeyPair.new()
        self.now = 1_000_000
        self.audit: list[Audit] = []
        self.keyring = Keyring(folder / "principals", now_ms=lambda: self.now)
        self.next_key = NextKeyFile(folder)
        self.news: list[NextKey | None] = []
        self.zap = ZapResponder(context, {LOBBY_DOMAIN: any_key})
        self.lobby = self.open()

    def open(self, endpoint: str = "tcp://127.0.0.1:*") -> Lobby:
        self.lobby = Lobby(
            self.context,
            self.keyring,
            self.pair,
            endpoint=endpoint,
            advertise="127.0.0.1",
            file=self.folder / "invitations.toml",
            audit=self.note,
            now_ms=lambda: self.now,
        )
        self.work = KeyWork(
            self.keyring,
            self.lobby,
            core_key=self.pair.public,
            next_key=self.next_key,
            tell_key_news=lambda: self.news.append(self.next_key.next),
            endpoint=lambda: "tcp://127.0.0.1:47102",
            audit_folder=self.folder / "audit",
            now_ms=lambda: self.now,
        )
        return self.lobby

    def note(self, lines: Sequence[Audit], unix_ms: int) -> None:
        self.audit += lines

    def invite(self, name: str = "alice", kind: str = "user", **arguments: str) -> Invitation:
        secret = new_secret()
        answer: Any = self.work.invite({"name": name, "kind": kind, "proof": proof_of(secret), **arguments}, "owner")
        return Invitation(
            name=answer["name"],
            role=Role[answer["role"].upper()],
            core_key=answer["core_key"],
            endpoint=answer["endpoint"],
            lobby=answer["lobby"],
            secret=secret,
            expires_ms=answer["expires_ms"],
            rotate=answer["rotate"],
            next_core_key=answer["next_core_key"],
        )

    def close(self) -> None:
        self.lobby.close()
        self.zap.close()
        self.keyring.close()


ALICE, BOB = KeyPair.new(), KeyPair.new()

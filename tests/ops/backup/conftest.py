"""A database to back up, a folder to keep backups in, and a key."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from ops.backup import sealed
from ops.backup.making import Order, make
from ops.backup.manifest import Receipt
from ops.backup.restoring import Restored, Target, restore
from ops.backup.server import drop
from ops.backup.vault import Vault
from tests.support import unique

Raw = Database[dict[str, Any]]


def quiet(_passed: int) -> None:
    """Nobody watches the progress."""


@dataclass(frozen=True)
class Keeper:
    """Backs a database up and restores it, into databases that the test's end drops."""

    uri: str
    client: MongoClient[dict[str, Any]]
    vault: Vault
    identity: str
    recipient: str
    made: list[str]

    def database(self) -> Raw:
        """A fresh one."""
        self.made.append(unique("backup"))
        return self.client[self.made[-1]]

    def back_up(self, database: Raw, progress: Any = quiet) -> Receipt:
        """One backup of it."""
        return make(Order(self.uri, database, [self.recipient], "test"), self.vault, progress)

    def restore(self, receipt: Receipt, target: Raw, *, replace: bool = False, brake: Any = None) -> Restored:
        """Put it there."""
        return restore(self.vault, receipt.file, [self.identity], Target(self.uri, target.name, replace, brake))

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(self.vault.place)


@pytest.fixture
def keeper(environment: dict[str, str], tmp_path: Path) -> Iterator[Keeper]:
    """On the session's server."""
    identity, recipient = sealed.new_identity()
    uri = environment["MONGODB_URI"]
    with contextlib.closing(MongoClient[dict[str, Any]](uri, tz_aware=True)) as client:
        made = Keeper(uri, client, Vault(str(tmp_path / "vault")), identity, recipient, [])
        yield made
        for name in made.made:
            drop(client[name], client[name].list_collection_names())
            client.drop_database(name)

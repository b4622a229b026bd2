"""What there is at one moment: everything the database keeps, the chain and the provider did, and anybody was told."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from getsmart.amounts import MAX_SUPPLY
from getsmart.models import ISSUANCE, SUPPLY, SYSTEM_ACCOUNTS, TREASURY
from getsmart.mongo import to_units
from local import contract
from tests.simulation.actors import Cast, Op
from tests.simulation.world import Row, World

_READ = (
    *("transactions", "entries", "accounts", "controls", "batches", "batch_rows", "wallets"),
    *("events", "deliveries", "endpoints", "ceilings", "api_keys", "breaks", "corrections"),
)
WITH_OUTBOX = ("transactions", "wallets", "batches", "endpoints")
_LATE = timedelta(seconds=60)  # between a reserve and its claim: a repair comes after 100 s, by clocks 30 s apart
FROM_GENESIS = 2  # the first block after the one that deploys the contract


class Transfer(NamedTuple):
    """One Transfer of our contract on the chain; addresses in lower case, amount in base units."""

    tx_hash: str
    sender: str
    recipient: str
    units: int


@dataclass
class Facts:
    """Rows by collection, Transfers, what MetaKeep answered by idempotency key, and what was told and logged.

    `overlapping`: keys of which two calls were under way at once.
    `before`: which events were there already when an endpoint was first seen.
    """

    rows: dict[str, list[Row]]
    transfers: list[Transfer]
    answers: list[tuple[str, Row]]
    overlapping: set[str]
    consent_tokens: list[str]
    received: list[tuple[str, Row]]
    logged: str
    ops: list[Op]
    before: dict[str, set[str]]
    gone: int
    treasury_address: str
    now: datetime
    held: dict[str, int] = field(init=False)
    posted: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Sums of entries by account, and of what open rows and batches hold by reserve."""
        self.posted = dict.fromkeys(SYSTEM_ACCOUNTS, 0)
        for entry in self.rows["entries"]:
            self.posted[entry["account"]] = self.posted.get(entry["account"], 0) + signed(entry)
        self.held = {}
        for row in self.transactions:
            if row["hold"]["state"] == "held":
                name = row["hold"]["name"]
                self.held[name] = self.held.get(name, 0) + to_units(row["amount"])
        for batch in self.rows["batches"]:
            if batch["status"] in ("queued", "running"):
                self.held[SUPPLY] = self.held.get(SUPPLY, 0) + to_units(batch["held"])

    @property
    def transactions(self) -> list[Row]:
        """The transactions."""
        return self.rows["transactions"]

    def control(self, name: str) -> Row:
        """One singleton."""
        return next(row for row in self.rows["controls"] if row["_id"] == name)

    def reserves(self) -> dict[str, tuple[int, int]]:
        """Of each reserve what is available, and what the books and the open rows say should be."""
        minted = -self.posted[ISSUANCE] + self.gone
        found = {
            SUPPLY: (to_units(self.control(SUPPLY)["available"]), MAX_SUPPLY - minted - self.held.get(SUPPLY, 0)),
            TREASURY: (
                to_units(self.control(TREASURY)["available"]),
                self.posted[TREASURY] - self.held.get(TREASURY, 0),
            ),
        }
        for account in self.rows["accounts"]:
            name = account["_id"]
            expected = self.posted.get(name, 0) - self.held.get(name, 0)
            found[name] = (to_units(account["available"]), expected)
        return found

    def unbacked(self, name: str) -> int:
        """What rows of this reserve hold that came so late that a repair may have been first, and nobody sent since."""
        late = [
            row
            for row in self.transactions
            if row["status"] == "queued"
            and row["hold"] == {"name": name, "state": "held"}
            and "is_backed" not in row
            and "inserted_at" in row
            and row["inserted_at"] - row["begun_at"] > _LATE
        ]
        return sum(to_units(row["amount"]) for row in late)

    def events_of(self, **named: str) -> list[Row]:
        """The numbered events whose object has these values, in sequence."""
        return [
            event
            for event in sorted(self.rows["events"], key=lambda one: (one["client_id"], one["sequence"]))
            if all(json.loads(event["data"]).get(name) == value for name, value in named.items())
        ]


def signed(entry: Row) -> int:
    """What an entry adds to its account."""
    return to_units(entry["amount"]) * (1 if entry["direction"] == "credit" else -1)


def gather(world: World, cast: Cast) -> Facts:
    """Everything there is now."""
    with world.scheduler.aside():
        rows = {name: list(world.raw[name].find()) for name in _READ}
        with world.sandbox.world.change(flush=True):
            store = world.sandbox.world.store
            tokens = [row["token"] for row in store.rows("SELECT token FROM consents")]
    return Facts(
        rows=rows,
        transfers=transfers(world),
        answers=list(world.sandbox.provider.answers),
        overlapping=set(world.sandbox.provider.overlapping),
        consent_tokens=tokens,
        received=[(url, json.loads(body)) for url, _, body in world.receivers.got],
        logged=world.logged.getvalue(),
        ops=cast.ops,
        before=cast.before,
        gone=cast.gone,
        treasury_address=world.sandbox.world.treasury.lower(),
        now=world.scheduler.true_now(),
    )


def transfers(world: World) -> list[Transfer]:
    """Every Transfer since genesis, in the order of the chain."""
    found = []
    for block in world.sandbox.world.chain.blocks[FROM_GENESIS:]:
        for log in block.logs:
            event = contract.read_event(log.topics, log.data)
            if event is None or event.name != "Transfer" or log.address != world.sandbox.world.token:
                continue
            sender, recipient, units = (event.args[name] for name in ("from", "to", "value"))
            tx_hash = f"0x{(block.call.tx_hash or b'').hex()}"
            found.append(Transfer(tx_hash, sender.lower(), recipient.lower(), int(units)))
    return found

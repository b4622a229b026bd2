"""What the tests about money share: an application with a wallet, the clockwork by hand, an auditor of the books."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, TypeVar

from pymongo.database import Database

from getsmart import clock, models
from getsmart.amounts import GENESIS_SUPPLY, MAX_SUPPLY, parse_units
from getsmart.models import EXTERNAL, ISSUANCE, SUPPLY, SYSTEM_ACCOUNTS, TREASURY
from getsmart.mongo import to_decimal, to_units
from getsmart.services import tick
from getsmart.stores.events import RESTORED
from local.sandbox import Sandbox
from tests.support import Answer, Client, Provider, Time, unique

Row = dict[str, Any]
Raw = Database[Row]
Outcome = TypeVar("Outcome")

MINT_PATH, TRANSFER_PATH, BURN_PATH = "/v2/app/coin/mint", "/v2/app/coin/transfer", "/v2/app/coin/burn"
STATUS_PATH = "/v2/app/transaction/status"
BEYOND_LEASES = 50.0  # seconds: longer than every lease, shorter than a repair's quiet time
QUIET = 101.0


class Killed(BaseException):
    """The process ends here: no handler of the code under test may catch it."""


def units(amount: str) -> int:
    """Base units of a wire amount."""
    return parse_units(amount)


@dataclass
class Bench:
    """One application, one wallet, and everything around them under the test's hand."""

    app: Client
    wallet: Row
    provider: Provider
    sandbox: Sandbox
    raw: Raw
    time: Time
    began: int = 0  # the newest entry of the sandbox's journal when the test began
    opening: dict[str, int] = field(default_factory=lambda: {ISSUANCE: -GENESIS_SUPPLY, TREASURY: GENESIS_SUPPLY})

    def mint(self, amount: str = "10", *, key: str | None = None, client: Client | None = None, **more: Any) -> Answer:
        """POST tokens/mint into the wallet."""
        body = {"wallet_id": self.wallet["wallet_id"], "amount": amount, **more}
        return (client or self.app).post("tokens/mint", body, key=key or unique("mint"))

    def claim_badge(self, badge_id: str, claimant: str, *, key: str | None = None) -> Answer:
        """POST tokens/mint for a badge."""
        badge = {"badge_id": badge_id, "claimant": claimant}
        body = {"wallet_id": self.wallet["wallet_id"], "badge_claim": badge}
        return self.app.post("tokens/mint", body, key=key or unique("badge"))

    def transfer(self, amount: str = "10", *, key: str | None = None, **target: str) -> Answer:
        """POST tokens/transfer from the treasury, to the wallet unless a target is named."""
        body = {"amount": amount, **(target or {"to_wallet_id": self.wallet["wallet_id"]})}
        return self.app.post("tokens/transfer", body, key=key or unique("transfer"))

    def burn(self, amount: str = "10", *, key: str | None = None) -> Answer:
        """POST tokens/burn from the wallet."""
        body = {"wallet_id": self.wallet["wallet_id"], "amount": amount, "reason": "test"}
        return self.app.post("tokens/burn", body, key=key or unique("burn"))

    def funded(self, amount: str) -> None:
        """Mint into the wallet until it is in the books."""
        answer = self.mint(amount)
        self.settle()
        assert self.row(answer)["status"] == "confirmed"

    def settle(self, rounds: int = 2) -> None:
        """Let the leases end, the chain mine and the tick look; twice, since what is sent is polled the next time."""
        for _ in range(rounds):
            self.time.advance(BEYOND_LEASES)
            tick.run()

    def now(self) -> datetime:
        """The moment that library and sandbox share."""
        return clock.now()

    def catch_up(self) -> None:
        """Let time pass beyond the newest block, which an earlier test may have dated ahead of the present."""
        ahead = (
            int(self.provider.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) - self.now().timestamp()
        )
        self.time.advance(max(0.0, ahead + 1))

    def row(self, of: Answer | str) -> Row:
        """The transaction as it is stored."""
        transaction_id = of if isinstance(of, str) else of.data["transaction_id"]
        row = self.raw.transactions.find_one({"_id": transaction_id})
        assert row is not None
        return row

    def only_row(self) -> Row:
        """The one transaction there is."""
        (row,) = self.raw.transactions.find()
        return row

    def status(self, of: Answer | str) -> str:
        """The state of a transaction as it is stored."""
        return str(self.row(of)["status"])

    def balance(self) -> Row:
        """What the caller reads of the wallet."""
        return self.app.get("wallets/balance", f"wallet_id={self.wallet['wallet_id']}").data

    def logs(self, address: str | None = None) -> int:
        """How many Transfers to the wallet (or another address) the chain has seen."""
        return len(self.provider.transfers_to(self.sandbox.token_address, address or self.wallet["address"]))

    def new_wallet(self) -> Row:
        """Another wallet of the application."""
        return self.app.post("wallets/create", {"owner": {"email": f"{unique('learner')}@example.com"}}).data

    def on_chain(self, address: str | None = None) -> int:
        """The balance by the contract, in base units."""
        return self.provider.balance_of(self.sandbox.token_address, address or self.wallet["address"])

    def calls(self, path: str, after: int = 0) -> list[Row]:
        """The sandbox's journal of calls of one path since an entry, at least since this test began."""
        seen = self.provider.read(f"requests?after={max(after, self.began)}")["requests"]
        return [call for call in seen if call["path"] == path]

    def mark(self) -> int:
        """The newest entry of the sandbox's journal."""
        seen = self.provider.read(f"requests?after={self.began}")["requests"]
        return int(seen[-1]["seq"]) if seen else self.began

    def limit(self, name: str, amount: str) -> None:
        """Leave only so much of the supply or the treasury: the rest went to `external` before the test began."""
        account = ISSUANCE if name == SUPPLY else TREASURY
        gone = self.available(name) - units(amount)
        self.opening[account] -= gone
        self.opening[EXTERNAL] = self.opening.get(EXTERNAL, 0) + gone
        self.raw.controls.update_one({"_id": name}, {"$set": {"available": to_decimal(units(amount))}})
        changes = {account: to_decimal(-gone), EXTERNAL: to_decimal(gone)}
        self.raw.controls.update_one({"_id": "books"}, {"$inc": changes})

    def available(self, name: str) -> int:
        """What may still be taken from a reserve."""
        place = self.raw.controls if name in (SUPPLY, TREASURY) else self.raw.accounts
        row = place.find_one({"_id": name})
        assert row is not None
        return to_units(row["available"])

    def audit_of_books(self) -> None:
        """Every promise that rows, books and events make; the chain may have Transfers that nobody ordered."""
        audit(self.raw, self.opening, {})

    def audit(self, leaked: dict[str, int] | None = None) -> None:
        """Every promise that rows, books and events make at any moment, and the chain where all is final."""
        audit(self.raw, self.opening, leaked or {})
        if not self.raw.transactions.find_one({"status": {"$in": ["queued", "submitted", "unknown"]}}):
            account = self.raw.accounts.find_one({"_id": self.wallet["wallet_id"]})
            assert self.on_chain() == (to_units(account["posted"]) if account else 0)


def in_parallel(calls: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
    """Start all the calls at once and wait for all."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def audit(raw: Raw, opening: dict[str, int], leaked: dict[str, int]) -> None:
    """Raise AssertionError unless rows, entries, accounts, reserves, books and events agree.

    `opening` are the balances of the system accounts before the first transaction; `leaked` is what is missing from
    a reserve until it is repaired.
    """
    rows = list(raw.transactions.find())
    entries = list(raw.entries.find({"transaction_id": {"$ne": "genesis"}}))
    for row in rows:
        own = [entry for entry in entries if entry["transaction_id"] == row["_id"] and "break_id" not in entry]
        _audit_row(row, own)
    _audit_corrections(raw, entries)
    _audit_accounts(raw, rows, entries, leaked)
    _audit_reserves(raw, rows, opening, leaked)
    _audit_books(raw, rows, entries, opening)
    _audit_events(raw, rows)


def _audit_row(row: Row, entries: list[Row]) -> None:
    steps = [step["status"] for step in row["timeline"]]
    assert steps[0] == "queued"
    assert steps[-1] == row["status"]
    assert all(later in models.MOVES[earlier] for earlier, later in pairwise(steps)), steps
    is_final = models.is_final(row["status"])
    states = {"confirmed": "settled", "failed": "returned", "cancelled": "returned", "expired": "returned"}
    assert row["hold"]["state"] == states.get(row["status"], "held")
    assert (row["request"]["body"] is None) == is_final
    assert not is_final or not {"due_at", "incoming_wallet_id"} & row.keys()
    assert ("badge_lock" in row) == ("badge_claim" in row and row["status"] not in ("failed", "cancelled"))
    assert [entry["direction"] for entry in sorted(entries, key=lambda entry: entry["_id"])] == (
        ["credit", "debit"] if row["status"] == "confirmed" else []
    )
    assert all(entry["amount"] == row["amount"] for entry in entries)


def _audit_corrections(raw: Raw, entries: list[Row]) -> None:
    """What breaks moved: two entries each, and what is standing is what was moved and not moved back."""
    for correction in raw.corrections.find():
        own = {entry["direction"]: entry for entry in entries if entry["_id"].startswith(f"{correction['_id']}:")}
        assert own["debit"]["account"] == correction["origin"]["account"]
        assert own["credit"]["account"] == correction["target"]["account"]
        assert all(entry["amount"] == correction["amount"] for entry in own.values())
    for raised in raw.breaks.find():
        moved = [
            (row["origin"]["account"], row["target"]["account"])
            for row in raw.corrections.find({"break_id": raised["_id"]})
        ]
        assert len(moved) == raised["bookings"]
        for origin, target in list(moved):
            if (origin, target) in moved and (target, origin) in moved:
                moved.remove((origin, target))
                moved.remove((target, origin))
        assert sorted(moved) == sorted(map(tuple, raised["standing"]))


def _signed(entry: Row) -> int:
    return to_units(entry["amount"]) * (1 if entry["direction"] == "credit" else -1)


def _audit_accounts(raw: Raw, rows: list[Row], entries: list[Row], leaked: dict[str, int]) -> None:
    for account in raw.accounts.find():
        own = [entry for entry in entries if entry["account"] == account["_id"]]
        own.sort(key=lambda entry: entry["account_sequence"])
        assert [entry["account_sequence"] for entry in own] == list(range(1, account["sequence"] + 1))
        balance = 0
        for entry in own:
            balance += _signed(entry)
            assert to_units(entry["balance_after"]) == balance >= 0
        assert to_units(account["posted"]) == balance
        held = _held(rows, account["_id"], "held")
        assert to_units(account["available"]) == balance - held - leaked.get(account["_id"], 0)


def _held(rows: list[Row], name: str, *states: str) -> int:
    found = [row for row in rows if row["hold"]["name"] == name and row["hold"]["state"] in states]
    return sum(to_units(row["amount"]) for row in found)


def _audit_reserves(raw: Raw, rows: list[Row], opening: dict[str, int], leaked: dict[str, int]) -> None:
    free = {SUPPLY: MAX_SUPPLY + opening[ISSUANCE], TREASURY: opening[TREASURY]}
    for name in (SUPPLY, TREASURY):
        control = raw.controls.find_one({"_id": name})
        assert control is not None
        out = _held(rows, name, "held", "settled") + leaked.get(name, 0)
        account = ISSUANCE if name == SUPPLY else TREASURY
        for correction in raw.corrections.find():
            units = to_units(correction["amount"])
            out += units * ((correction["origin"]["account"] == account) - (correction["target"]["account"] == account))
        if name == SUPPLY:
            out += sum(to_units(batch["held"]) for batch in raw.batches.find({"status": {"$ne": "accepting"}}))
        assert to_units(control["available"]) == free[name] - out, name


def _audit_books(raw: Raw, rows: list[Row], entries: list[Row], opening: dict[str, int]) -> None:
    """I3: what was summed and what is flagged to be summed are all the entries, and the sum of all is zero."""
    books = raw.controls.find_one({"_id": "books"})
    assert books is not None
    sums: dict[str, int] = defaultdict(int, opening)
    unsummed = {row["_id"] for row in [*rows, *raw.corrections.find()] if row.get("is_unsummed")}
    for entry in entries:
        if entry["_id"].rpartition(":")[0] not in unsummed:
            sums[entry["account"] if entry["account"] in SYSTEM_ACCOUNTS else "wallets"] += _signed(entry)
    for name in (*SYSTEM_ACCOUNTS, "wallets"):
        assert to_units(books[name]) == sums[name], name
    assert sum(sums.values()) == 0
    assert sum(map(_signed, entries)) == 0


def _audit_events(raw: Raw, rows: list[Row]) -> None:
    """I5: one event for each step, numbered from 1 without a gap for each client, and no word of a person in it.

    A restore has them go on elsewhere.
    """
    restored = (raw.sequences.find_one({"_id": RESTORED}) or {"last": 0})["last"]
    numbered = list(raw.events.find().sort([("client_id", 1), ("sequence", 1)]))
    for client_id in {event["client_id"] for event in numbered}:
        sequences = [event["sequence"] for event in numbered if event["client_id"] == client_id]
        assert all(later in (earlier + 1, restored + 1) for earlier, later in pairwise([0, *sequences])), sequences
    assert not any("@" in event["data"] for event in numbered)
    for row in rows:
        waiting = [event for event in row["outbox"] if raw.events.find_one({"_id": event["event_id"]}) is None]
        own = [event for event in numbered if row["_id"] in event["data"]]
        told = [event["type"] for event in own + waiting if event["type"] != "transaction.reorged"]
        assert told == [f"transaction.{step['status']}" for step in row["timeline"]]

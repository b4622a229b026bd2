"""Breaks between the ledger and the chain: what each kind is called, and the records that reconciliation keeps.

ambiguous          a Transfer that several transactions could be of, or one of several that one could be of
missing_in_ledger  a Transfer that no transaction caused; booked against `external`
missing_on_chain   a confirmed transaction whose Transfer the chain does not have
amount_mismatch    a transaction's Transfer has another amount
party_mismatch     a transaction's Transfer has another sender or recipient
reorged            a confirmed transaction whose Transfer was reorganised away; booked back
"""

from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    from bson import Decimal128

    from getsmart.chain import ChainTransfer, TransferLog
    from getsmart.metakeep.protocol import Transfer

BreakType = Literal[
    "ambiguous", "missing_on_chain", "missing_in_ledger", "amount_mismatch", "party_mismatch", "reorged"
]
BREAK_TYPES: tuple[BreakType, ...] = (
    "ambiguous",
    "missing_on_chain",
    "missing_in_ledger",
    "amount_mismatch",
    "party_mismatch",
    "reorged",
)


RECONCILIATION = "reconciliation"
"""Who closes a break that no person did."""
NOTHING_MOVED = "nothing of ours moved"
"""Why it closes a Transfer between strangers."""
TAKEN_BACK = "its block was reorganised away"
"""Why it closes one that is on the chain no more."""


class Leg(NamedTuple):
    """One movement between two ledger accounts."""

    origin: str
    target: str

    def back(self) -> "Leg":
        """The movement that undoes it."""
        return Leg(self.target, self.origin)


class Sides(TypedDict):
    """A Transfer as a break tells of it: addresses in lower case, base units as a decimal string."""

    sender: str
    recipient: str
    amount: str


def sides_of(one: "ChainTransfer | TransferLog | Transfer") -> Sides:
    """A Transfer as a break tells of it."""
    return {"sender": one.sender, "recipient": one.recipient, "amount": str(one.amount)}


class SightingRow(TypedDict):
    """A Transfer that is to be looked at again: `_id` is its hash and log index.

    `transaction_id` names the row that knows its hash and has not ended yet; without it, no row does.
    """

    _id: str
    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str
    mined_at: datetime
    sender: str
    recipient: str
    amount: str
    seen_at: datetime
    due_at: datetime
    transaction_id: NotRequired[str]
    judged_for: NotRequired[datetime]


class Resolution(TypedDict):
    """Who closed a break, and why."""

    who: str
    why: str
    at: datetime


class BreakRow(TypedDict):
    """One break. `standing` are its movements in the books; `due` says that they still have to be booked or undone.

    `subject` is unique: the same thing found again is the same break.
    """

    _id: str
    version: int
    subject: str
    type: BreakType
    status: Literal["open", "resolved"]
    first_seen: datetime
    updated_at: datetime
    standing: list[list[str]]
    bookings: int
    amount: str
    tx_hash: NotRequired[str]
    log_index: NotRequired[int]
    block_number: NotRequired[int]
    block_hash: NotRequired[str]
    mined_at: NotRequired[datetime]
    transaction_id: NotRequired[str]
    candidates: NotRequired[list[str]]
    expected: NotRequired[Sides]
    found: NotRequired[Sides]
    due: NotRequired[Literal["stand", "fall"]]
    resolution: NotRequired[Resolution]


def is_its_own(closed: BreakRow) -> bool:
    """Whether reconciliation has closed it, and no person."""
    return closed.get("resolution", {}).get("who") == RECONCILIATION


def is_kept(row: BreakRow) -> bool:
    """Whether it is over, and holds what a transaction has passed on: another Transfer may have its place by now."""
    return row["status"] == "resolved" and is_its_own(row) and bool(row["standing"]) and "due" not in row


class CorrectionRow(TypedDict):
    """One movement that a break put into the books: beside transactions, and summed like them."""

    _id: str
    break_id: str
    transaction_id: str
    origin: dict[str, str]
    target: dict[str, str]
    amount: "Decimal128"
    at: datetime
    is_unsummed: NotRequired[bool]


class Place(NamedTuple):
    """How far the chain has been reconciled: the last block that was, and its hash."""

    block_number: int
    block_hash: str
    version: int


def log_key(tx_hash: str, log_index: int) -> str:
    """The name of one Transfer for ever, unless a reorganisation gives it another place."""
    return f"{tx_hash}:{log_index}"

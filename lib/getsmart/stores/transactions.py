"""Every query on transactions; the only place where a status changes."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from getsmart import clock, objects
from getsmart.errors import Internal
from getsmart.ids import new_id
from getsmart.models import (
    FINAL,
    MOVES,
    RECOVERY,
    UNLISTED,
    Event,
    Status,
    Step,
    StoredReply,
    TransactionFilter,
    TransactionRow,
    cause_of,
    is_final,
)
from getsmart.mongo import Document, again, database, to_units
from getsmart.paging import newest_first
from getsmart.replies import dump_json, success

# How long a row in flight is its sender's alone: what a call to MetaKeep takes at most (machine/send.py), and what the
# clock of whoever comes next may be ahead of the sender's (stores/reserves.py).
LEASE_SECONDS = 45


class Taken(Exception):
    """The insert met a unique index; `is_badge` tells whether it was the badge claim's."""

    def __init__(self, is_badge: bool) -> None:
        super().__init__("badge" if is_badge else "key")
        self.is_badge = is_badge


class Known(NamedTuple):
    """The row of a key, or None; what is known of the last restore; how often its badge claim came to nothing."""

    row: TransactionRow | None
    recovery: Document
    ended: int = 0


def find_claim(client_id: str, route: str, idempotency_key: str, badge: Mapping[str, str] | None = None) -> Known:
    """What is known of this idempotency key, and where it is to claim a badge, of that; one round trip."""
    query = {"client_id": client_id, "route": route, "idempotency_key": idempotency_key}
    beside: Document = {"coll": "controls", "pipeline": [{"$match": {"_id": RECOVERY}}]}
    stages: list[Document] = [{"$match": query}, {"$unionWith": beside}]
    if badge is not None:
        stages.append({"$unionWith": {"coll": "transactions", "pipeline": _ended(client_id, badge)}})
    found = list(database().transactions.aggregate(stages))
    row = next((one for one in found if "idempotency_key" in one), None)
    recovery = next((one for one in found if one["_id"] == RECOVERY), {})
    ended = sum(1 for one in found if one.keys() == {"_id"} and one["_id"] != RECOVERY)
    return Known(cast(TransactionRow | None, row), recovery, ended)


def _ended(client_id: str, badge: Mapping[str, str]) -> list[Document]:
    """The ids of the claims of this badge that ended without effect."""
    names = {f"badge_claim.{name}": badge[name] for name in ("claimant", "badge_id")}
    without_effect = {"status": {"$in": ["failed", "cancelled"]}}
    return [{"$match": {**names, "client_id": client_id, **without_effect}}, {"$project": {"_id": 1}}]


def find(transaction_id: str, client_id: str | None) -> TransactionRow | None:
    """The row with this id, if it is this client's; None as client (an admin) sees all."""
    query: dict[str, Any] = {"_id": transaction_id}
    if client_id is not None:
        query["client_id"] = client_id
    return cast(TransactionRow | None, database().transactions.find_one(query))


def find_by_metakeep_id(metakeep_transaction_id: str) -> TransactionRow | None:
    """The row that MetaKeep knows under this id, or None."""
    query = {"metakeep_transaction_id": metakeep_transaction_id}
    return cast(TransactionRow | None, database().transactions.find_one(query))


def find_by_consent_token(token: str) -> TransactionRow | None:
    """The row whose person is asked with this token, or None."""
    return cast(TransactionRow | None, database().transactions.find_one({"consent_token": token}))


def is_claimed(tx_hash: str) -> bool:
    """Whether a row of ours already stands for this transaction of the chain."""
    return database().transactions.find_one({"tx_hash": tx_hash}, {"_id": 1}) is not None


def find_awaiting(account: str) -> list[TransactionRow]:
    """The rows that wait for the consent of this account's holder."""
    query = {"status": "awaiting_consent", "origin.account": account}
    return cast(list[TransactionRow], list(database().transactions.find(query)))


def page_query(client_id: str | None, only: TransactionFilter, after: str | None) -> dict[str, Any]:
    """The filter for one page of the list; of `only` all but the wallet, which leads to its transactions both ways."""
    query: dict[str, Any] = {} if client_id is None else {"client_id": client_id}
    named = {"status": "status", "kind": "kind", "batch_id": "batch_id", "badge_id": "badge_claim.badge_id"}
    query |= {named[name]: value for name, value in only.items() if name in named}
    return query | newest_first("txn", after, only.get("created_after"), only.get("created_before"))


def find_page(query: dict[str, Any], limit: int) -> list[TransactionRow]:
    """Up to `limit` rows, newest first, without what only the machine reads."""
    found = database().transactions.find(query, dict.fromkeys(UNLISTED, 0)).sort([("_id", -1)]).limit(limit)
    return cast(list[TransactionRow], list(found))


def has_open(wallet_id: str) -> bool:
    """Whether something is under way to or from the wallet: a row that is not final."""
    held = {"hold.name": wallet_id, "hold.state": "held"}
    return any(
        database().transactions.find_one(query, {"_id": 1}) is not None
        for query in (held, {"incoming_wallet_id": wallet_id})
    )


def find_due(statuses: tuple[Status, ...], before: datetime, limit: int) -> list[TransactionRow]:
    """Open rows whose time has come, the longest overdue first."""
    rows: list[TransactionRow] = []
    for status in statuses:
        query = {"status": status, "due_at": {"$lte": before}}
        found = database().transactions.find(query).sort([("due_at", 1)]).limit(limit)
        rows.extend(cast(list[TransactionRow], list(found)))
    return sorted(rows, key=lambda row: row["due_at"])[:limit]


def find_oldest(status: Status) -> datetime | None:
    """When the oldest row in this state was created, or None when there is none."""
    row = database().transactions.find_one({"status": status}, {"created_at": 1}, sort=[("created_at", 1)])
    return cast(datetime, row["created_at"]) if row else None


def count(status: Status, most: int, since: datetime | None = None) -> int:
    """How many rows are in this state, made since then, counted up to `most`."""
    query: dict[str, Any] = {"status": status} if since is None else {"status": status, "created_at": {"$gte": since}}
    return database().transactions.count_documents(query, limit=most)


def count_unsummed(most: int) -> int:
    """How many confirmed rows the tick has not yet folded into the books, counted up to `most`."""
    return database().transactions.count_documents({"is_unsummed": True}, limit=most)


def sum_held(name: str, *, session: ClientSession) -> int:
    """The base units that open rows hold of a reserve."""
    held = database().transactions.find({"hold.name": name, "hold.state": "held"}, {"amount": 1}, session=session)
    return sum(to_units(row["amount"]) for row in held)


def was_returned_since(name: str, moment: datetime) -> bool:
    """Whether a row marked its hold on this reserve as returned after `moment`."""
    query = {"hold.name": name, "hold.state": "returned", "updated_at": {"$gt": moment}}
    return database().transactions.find_one(query, {"_id": 1}) is not None


def insert(row: TransactionRow) -> None:
    """Write the claim: one insert that carries the row, the provider request, the event and the audit line.

    The server dates it (`inserted_at`), as only an upsert lets it: by that a claim that froze on its way is known.
    Raises Taken when the idempotency key or the badge claim belongs to another row. After a broken connection the
    same insert is tried again; meeting our own row then means that the first one had landed.
    """
    absent = {"_id": row["_id"], "inserted_at": {"$exists": False}}
    facts = {name: value for name, value in row.items() if name != "_id"}
    whole = {"$setOnInsert": facts, "$currentDate": {"inserted_at": True}}
    try:
        again(lambda: database().transactions.update_one(absent, whole, upsert=True))
    except DuplicateKeyError as error:
        if database().transactions.find_one({"_id": row["_id"]}, {"_id": 1}) is None:
            pattern: Mapping[str, Any] = (error.details or {}).get("keyPattern") or {}
            raise Taken(is_badge=any(name.startswith("badge_lock") for name in pattern)) from None


def insert_many(rows: Iterable[TransactionRow], *, session: ClientSession) -> None:
    """Write the rows of a batch, all or none. Raises DuplicateKeyError's kind when one of them is there already."""
    database().transactions.insert_many([{**row} for row in rows], session=session)


def has_open_of_batch(batch_id: str) -> bool:
    """Whether a transaction of this batch may still move."""
    for status in MOVES.keys() - FINAL:
        if database().transactions.find_one({"batch_id": batch_id, "status": status}, {"_id": 1}) is not None:
            return True
    return False


def count_by_status(batch_id: str) -> dict[str, int]:
    """How many transactions of this batch there are in each state that occurs."""
    stages: list[dict[str, Any]] = [
        {"$match": {"batch_id": batch_id}},
        {"$group": {"_id": "$status", "count": {"$sum": 1}}},
    ]
    return {row["_id"]: row["count"] for row in database().transactions.aggregate(stages)}


def find_batch_rows(batch_id: str, start: int, limit: int) -> dict[int, TransactionRow]:
    """The transactions of `limit` rows of this batch from row `start` on, by row; without what no list shows."""
    query = {"batch_id": batch_id, "batch_row": {"$gte": start, "$lt": start + limit}}
    rows = database().transactions.find(query, dict.fromkeys(UNLISTED, 0))
    return {row["batch_row"]: cast(TransactionRow, row) for row in rows}


def event_of(row: TransactionRow) -> Event:
    """The event that tells of the row as it stands."""
    return {
        "event_id": new_id("evt"),
        "client_id": row["client_id"],
        "type": f"transaction.{row['status']}",
        "created_at": row["updated_at"],
        "data": dump_json(objects.transaction(row)),
        "traceparent": cause_of(row),
    }


def move(
    row: TransactionRow, status: Status, changes: Mapping[str, Any], *, session: ClientSession | None = None
) -> TransactionRow | None:
    """Move the row to `status` with `changes`, its timeline and its event, in one update.

    Returns the row as it stands then, or None when somebody else moved it first. Raises Internal for a move that the
    state machine does not know.
    """
    if status not in MOVES[row["status"]]:
        raise Internal(f"{row['_id']}: {row['status']} -> {status} is not a move")
    at = clock.now()
    step: Step = {"status": status, "at": at}
    gone = tuple(name for name in _gone(row, status) if name not in changes)
    new = {**changes, "status": status, "updated_at": at, "version": row["version"] + 1}
    if is_final(status):
        new["request"] = {**row["request"], "body": None}  # it names a person, and is never sent again
    moved = _with(row, {**new, "timeline": [*row["timeline"], step]}, gone)
    moved, new = _with_reply(moved, new)
    update: dict[str, Any] = {"$set": new, "$push": {"timeline": step, "outbox": event_of(moved)}}
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    current = {"_id": row["_id"], "status": row["status"], "version": row["version"]}
    done = database().transactions.update_one(current, update, session=session)
    return moved if done.modified_count else None


def _with(row: TransactionRow, new: Mapping[str, Any], gone: Iterable[str] = ()) -> TransactionRow:
    return cast(TransactionRow, {**{name: value for name, value in row.items() if name not in gone}, **new})


def _with_reply(moved: TransactionRow, new: dict[str, Any]) -> tuple[TransactionRow, dict[str, Any]]:
    """The first conclusion of a row is what its caller is answered, also when the tick reached it.

    A batch's rows have no caller of their own.
    """
    if "reply" in moved or "batch_id" in moved:
        return moved, new
    reply = reply_of(moved)
    return _with(moved, {"reply": reply}), {**new, "reply": reply}


def reply_of(row: TransactionRow) -> StoredReply:
    """202 with the transaction in whatever state it has."""
    return {"status": 202, "body": success(202, objects.transaction(row), "accepted").body}


def _gone(row: TransactionRow, status: Status) -> tuple[str, ...]:
    """What a final row no longer has; where nothing came of it, its badge claim is free again.

    A row that became unknown before MetaKeep gave it an id, and is not to be sent again, can be asked about nowhere,
    so it is never due. A consent token goes with the state that it was for.
    """
    if status == "unknown" and "metakeep_transaction_id" not in row:
        return ("due_at",)
    consent = tuple({"consent_token", "consent_candidates"} & row.keys())
    if not is_final(status):
        return consent
    always = ("due_at", "incoming_wallet_id", *consent)
    return always if status == "confirmed" else (*always, "badge_lock")


def note(
    row: TransactionRow, changes: Mapping[str, Any], *, is_conclusion: bool = False, gone: Iterable[str] = ()
) -> TransactionRow | None:
    """Keep facts about the row (or drop those that are `gone`) without moving it; None when somebody moved it first.

    With `is_conclusion` a call has come to its end here: its reply is stored, unless there is one.
    """
    new: dict[str, Any] = {**changes, "version": row["version"] + 1}
    noted = _with(row, new, tuple(gone))
    if is_conclusion:
        noted, new = _with_reply(noted, new)
    update: dict[str, Any] = {"$set": new}
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    done = database().transactions.update_one({"_id": row["_id"], "version": row["version"]}, update)
    return noted if done.modified_count else None


def take_lease(row: TransactionRow) -> TransactionRow | None:
    """Take over a claim whose holder died; None when its lease still runs or somebody else was faster.

    The tick leaves the row alone for as long: what is leased is not due.
    """
    at = clock.now()
    if row["lease_until"] > at:
        return None
    lease_until = at + timedelta(seconds=LEASE_SECONDS)
    return note(row, {"lease_until": lease_until, "due_at": lease_until})

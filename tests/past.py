"""A database as the code of each schema version left it: one small builder a version, each adds what came with it.

The documents have the fields that the code of their time wrote, no more: what later code adds is not there.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Decimal128
from pymongo.database import Database

Row = dict[str, Any]
Raw = Database[Row]
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
UNIT = 10**18
CLIENT, KEY = "app", "key_00000000000000000000000001"
WALLETS = [f"wlt_0000000000000000000000000{n}" for n in (1, 2)]
TXN = "txn_0000000000000000000000000{}"
HASH = "0x" + "ab" * 32


def units(gets: int) -> Decimal128:
    """So many GETS in base units, as they are kept."""
    return Decimal128(str(gets * UNIT))


def address(number: int) -> str:
    """A wallet's address, in mixed case as the provider writes it."""
    return "0x" + f"{number:x}" * 2 + "Ab" * 19


def _event(number: int, kind: str) -> Row:
    event_id = f"evt_{number:026}"
    return {"event_id": event_id, "client_id": CLIENT, "type": kind, "created_at": AT, "data": '{"as":"it was"}'}


def _mint(number: int, gets: int, statuses: tuple[str, ...], **more: Any) -> Row:
    """A mint as `machine.claim` inserted it and `transactions.move` moved it."""
    status, wallet = statuses[-1], WALLETS[0]
    row = {
        "_id": TXN.format(number),
        "version": len(statuses),
        "client_id": CLIENT,
        "route": "/v1/tokens/mint",
        "idempotency_key": f"order-{number}",
        "body_digest": f"{number:064x}",
        "kind": "mint",
        "status": status,
        "amount": units(gets),
        "origin": {"account": "issuance"},
        "target": {"account": wallet, "wallet_id": wallet, "address": address(1)},
        "hold": {"name": "supply", "state": {"confirmed": "settled", "failed": "returned"}.get(status, "held")},
        "request": {"path": "/v2/app/coin/mint", "body": None, "idempotency_key": f"{number:064x}", "signer": "s"},
        "audit": {"key_id": KEY, "source": "192.0.2.1", "request_id": f"req-{number}", "at": AT},
        "timeline": [{"status": one, "at": AT + timedelta(seconds=n)} for n, one in enumerate(statuses)],
        "created_at": AT,
        "updated_at": AT + timedelta(seconds=len(statuses) - 1),
        "send_started_at": AT,
        "lease_until": AT + timedelta(seconds=15),
        "attempts": 1,
        "is_in_flight": False,
        "is_ambiguous": False,
        "reply": {"status": 202, "body": '{"status":"success"}'},
        "outbox": [],
    }
    if status not in {"confirmed", "failed"}:
        row |= {"due_at": AT + timedelta(seconds=17), "incoming_wallet_id": wallet}
    return {**row, **more}


def _entries(row: Row, sequence: int, balance: int) -> list[Row]:
    line = {"transaction_id": row["_id"], "amount": row["amount"], "at": row["updated_at"]}
    numbered = {"account_sequence": sequence, "balance_after": units(balance)}
    debit = {"_id": f"{row['_id']}:debit", "account": "issuance", "direction": "debit", **line}
    credit = {"_id": f"{row['_id']}:credit", "account": WALLETS[0], "direction": "credit", **line, **numbered}
    return [debit, credit]


def version_1(raw: Raw) -> None:
    """Wallets, one of them shared; mints that are confirmed, summed or not, failed, under way; a key; events."""
    for number, wallet in enumerate(WALLETS, 1):
        link = {"client_id": CLIENT, "label": f"learner {number}", "metadata": {"school": "9"}, "linked_at": AT}
        others = [{**link, "client_id": "other"}] if number == 2 else []
        row = {"_id": wallet, "email": f"learner{number}@example.com", "address": address(number)}
        row |= {"address_key": address(number).lower(), "created_at": AT, "links": [link, *others], "outbox": []}
        raw.wallets.insert_one(row)
    done = ("queued", "submitted", "confirmed")
    settled = {"tx_hash": HASH, "block_number": 7, "settlement": {"tx_hash": HASH, "log_index": 0}}
    claim = {"badge_id": "python-101", "claimant": "learner-1"}
    badge = {"badge_claim": claim, "badge_lock": claim}
    summed = _mint(1, 1_000, done, metakeep_transaction_id="mk-1", **settled, **badge)
    fresh = _mint(2, 5, done, metakeep_transaction_id="mk-2", is_unsummed=True)
    failed = _mint(3, 2, ("queued", "failed"), failure={"code": "provider_rejected", "message": "refused"})
    waits = _mint(4, 3, ("queued",), request={**summed["request"], "body": "{}"})
    sent = _mint(5, 4, ("queued", "submitted"), metakeep_transaction_id="mk-5", reason="a prize")
    raw.transactions.insert_many([summed, fresh, failed, waits, sent])
    raw.entries.insert_many([*_entries(summed, 1, 1_000), *_entries(fresh, 2, 1_005)])
    raw.accounts.insert_one(
        {
            "_id": WALLETS[0],
            "posted": units(1_005),
            "available": units(1_005),
            "sequence": 2,
            "version": 1,
        }
    )
    raw.controls.update_one({"_id": "supply"}, _less(1_000 + 5 + 3 + 4))
    moved = {"issuance": units(-1_000), "wallets": units(1_000), "transactions": 1, "version": 1}
    raw.controls.update_one({"_id": "books"}, {"$inc": moved})
    raw.controls.insert_one({"_id": "tick", "ran_at": AT, "provider_ok_at": AT})
    events = [_event(n, kind) for n, kind in enumerate(("wallet.created", "transaction.queued"), 1)]
    raw.events.insert_many([{"_id": one["event_id"], **one, "sequence": n} for n, one in enumerate(events, 1)])
    raw.wallets.update_one({"_id": WALLETS[1]}, {"$push": {"outbox": _event(3, "wallet.created")}})
    raw.inbound_events.insert_one({"_id": "mk-event-1", "type": "transaction", "applied_at": datetime.now(UTC)})
    raw.leases.insert_one({"_id": "tick", "holder": "req_1", "until": AT})
    raw.api_keys.insert_one(
        {
            "_id": KEY,
            "client_id": CLIENT,
            "mode": "live",
            "secret_sha256": "c" * 64,
            "scopes": ["tokens:mint"],
            "created_at": AT,
            "expires_at": None,
            "revoked_at": None,
            "usage": {"day": 1},
        }
    )


def version_2(raw: Raw) -> None:
    """Lists came: a label that a list is filtered by; nothing is kept that was not before."""
    raw.wallets.update_one({"_id": WALLETS[0]}, {"$set": {"links.0.label": "first"}})


def version_3(raw: Raw) -> None:
    """An airdrop whose rows are half unfolded, a transfer that awaits consent, a daily ceiling in use."""
    batch = "bat_00000000000000000000000001"
    raw.batches.insert_one(
        {
            "_id": batch,
            "version": 3,
            "client_id": CLIENT,
            "key_id": KEY,
            "reference": "june",
            "route": "/v1/tokens/airdrop",
            "idempotency_keys": ["drop-1"],
            "body_digest": "d" * 64,
            "status": "running",
            "amount": units(20),
            "held": units(10),
            "total": 2,
            "unfolded": 1,
            "audit": {"key_id": KEY, "at": AT},
            "created_at": AT,
            "updated_at": AT,
            "lease_until": AT,
            "merkle_root": "0x" + "e" * 64,
            "reply": {"status": 202, "body": "{}"},
            "outbox": [],
        }
    )
    rows = [
        {"_id": f"{batch}:{n}", "batch_id": batch, "row": n, "wallet_id": WALLETS[n - 1], "amount": units(10)}
        for n in (1, 2)
    ]
    raw.batch_rows.insert_many(rows)
    raw.transactions.insert_one(_mint(6, 10, ("queued",), batch_id=batch, batch_row=1))
    asks = {"kind": "transfer", "route": "/v1/tokens/transfer", "consent_token": "token-1"}
    parties = {"origin": _party(1), "target": _party(2), "hold": {"name": WALLETS[0], "state": "held"}}
    raw.transactions.insert_one(_mint(7, 1, ("queued", "awaiting_consent"), **asks, **parties))
    raw.accounts.update_one({"_id": WALLETS[0]}, {"$inc": {"available": units(-1), "version": 1}})
    raw.controls.update_one({"_id": "supply"}, _less(20))
    raw.ceilings.insert_one({"_id": KEY, "day": 20_458, "mint": units(1_000), "is_allowed": True})


def _party(number: int) -> Row:
    wallet = WALLETS[number - 1]
    return {"account": wallet, "wallet_id": wallet, "address": address(number)}


def _less(gets: int) -> Row:
    return {"$inc": {"available": units(-gets), "version": 1}}


def version_4(raw: Raw) -> None:
    """A subscription that was told of one event and not of the other, and a replay."""
    endpoint = "whe_00000000000000000000000001"
    raw.endpoints.insert_one(
        {
            "_id": endpoint,
            "client_id": CLIENT,
            "mode": "live",
            "url": "https://hooks.example.com/",
            "event_types": None,
            "status": "enabled",
            "secrets": [{"number": 1, "master": "m", "created_at": AT, "expires_at": None}],
            "created_at": AT,
            "revision": 1,
            "wakes": 2,
            "failures": 0,
            "is_doubtful": False,
            "outcomes": [1],
            "audit": [],
            "slot": 0,
            "due_at": AT,
        }
    )
    for number, status in ((1, "delivered"), (2, "pending")):
        attempt = {"at": AT, "http_status": 204, "duration_ms": 12, "excerpt": ""}
        raw.deliveries.insert_one(
            {
                "_id": f"dlv_{number:026}",
                "client_id": CLIENT,
                "endpoint_id": endpoint,
                "event_id": f"evt_{number:026}",
                "type": "wallet.created",
                "sequence": number,
                "status": status,
                "created_at": AT,
                "attempts": [attempt] if status == "delivered" else [],
            }
        )
    replay = {"_id": "rpl_1", "client_id": CLIENT, "selection": {"all_failed": True}, "status": "completed"}
    raw.replays.insert_one({**replay, "created_at": AT, "place": None, "total": 0, "queued": 0, "audit": []})


def version_5(raw: Raw) -> None:
    """A break that is booked through `external`, a Transfer that waits, blocks; the sequencer's place, unasked for."""
    transaction, found = TXN.format(1), {"sender": "0x" + "0" * 40, "recipient": address(2).lower()}
    raw.breaks.insert_one(
        {
            "_id": "brk_1",
            "version": 2,
            "subject": f"log:{HASH}:1",
            "type": "missing_in_ledger",
            "status": "open",
            "first_seen": AT,
            "updated_at": AT,
            "standing": [["external", WALLETS[1]]],
            "bookings": 1,
            "amount": str(8 * UNIT),
            "tx_hash": HASH,
            "log_index": 1,
            "block_number": 7,
            "transaction_id": transaction,
            "found": {**found, "amount": str(8 * UNIT)},
        }
    )
    correction = {"_id": "brk_1:1", "break_id": "brk_1", "transaction_id": transaction, "amount": units(8), "at": AT}
    sides = {"origin": {"account": "external"}, "target": {"account": WALLETS[1]}}
    raw.corrections.insert_one({**correction, **sides, "is_unsummed": True})
    line = {"transaction_id": transaction, "break_id": "brk_1", "amount": units(8), "at": AT}
    numbered = {"account_sequence": 1, "balance_after": units(8)}
    raw.entries.insert_many(
        [
            {"_id": "brk_1:1:debit", "account": "external", "direction": "debit", **line},
            {"_id": "brk_1:1:credit", "account": WALLETS[1], "direction": "credit", **line, **numbered},
        ]
    )
    sums = {"posted": units(8), "available": units(8), "sequence": 1, "version": 0}
    raw.accounts.insert_one({"_id": WALLETS[1], **sums})
    waits = {"_id": f"{HASH}:2", "tx_hash": HASH, "log_index": 2, "block_number": 8, "block_hash": HASH, **found}
    times = {"mined_at": AT, "seen_at": AT, "due_at": AT}
    raw.sightings.insert_one({**waits, **times, "amount": str(UNIT)})
    raw.blocks.insert_many([{"_id": number, "number": number, "hash": HASH} for number in (7, 8)])
    raw.controls.insert_one({"_id": "reconciliation", "version": 1, "to_block": 8, "head": 8, "at": AT})
    raw.sequences.insert_one({"_id": CLIENT, "last": 2})


def version_6(raw: Raw) -> None:
    """A failure that was kept."""
    row = {"_id": "20260105T1200.07", "at": datetime.now(UTC), "event": "request", "code": "internal"}
    raw.failures.insert_one({**row, "request_id": "req-9", "status": 500})


def version_7(raw: Raw) -> None:
    """The sequencer's place is asked for: another client's."""
    raw.sequences.insert_one({"_id": "other", "last": 1})


def version_8(raw: Raw) -> None:
    """A badge that is claimed again, after a claim of it that came to nothing."""
    claim, failure = {"badge_id": "rust-101", "claimant": "learner-1"}, {"code": "never_mined", "message": "-"}
    raw.transactions.insert_one(_mint(8, 1_000, ("queued", "submitted", "failed"), badge_claim=claim, failure=failure))
    again = {"metakeep_transaction_id": "mk-9", "badge_claim": claim, "badge_lock": claim}
    raw.transactions.insert_one(_mint(9, 1_000, ("queued", "submitted"), **again))
    raw.controls.update_one({"_id": "supply"}, _less(1_000))


def version_9(raw: Raw) -> None:
    """A Transfer between strangers, closed as such; when wallets were looked at for what they had before."""
    sides = {"sender": address(8).lower(), "recipient": address(9).lower(), "amount": str(UNIT)}
    closed = {"who": "reconciliation", "why": "nothing of ours moved", "at": AT}
    row = {"_id": "brk_2", "version": 2, "subject": f"log:{HASH}:3", "type": "missing_in_ledger", "status": "resolved"}
    row |= {"first_seen": AT, "updated_at": AT, "mined_at": AT, "standing": [], "bookings": 0, "amount": str(UNIT)}
    place = {"tx_hash": HASH, "log_index": 3, "block_number": 8, "block_hash": HASH}
    raw.breaks.insert_one({**row, **place, "found": sides, "resolution": closed})
    noted = {"welcome": None, "welcomed_at": AT, "due_to": "", "tried_to": ""}
    raw.controls.update_one({"_id": "reconciliation"}, {"$set": noted})


def version_10(raw: Raw) -> None:
    """What a transaction paid outside, booked on into the wallet that the address has become."""
    outside = {"account": "external", "address": address(2)}
    more = {
        "kind": "transfer",
        "route": "/v1/tokens/transfer",
        "passed_on": {"wallet_id": WALLETS[1], "break_id": "brk_3"},
        "origin": _party(1),
    }
    more |= {"target": outside, "hold": {"name": WALLETS[0], "state": "settled"}, "is_unsummed": True}
    place = {"tx_hash": f"0x{10:064x}", "block_number": 8, "block_hash": HASH}
    settled = {**place, "settlement": {"tx_hash": place["tx_hash"], "log_index": 0}}
    row = _mint(10, 2, ("queued", "submitted", "confirmed"), **more, **settled)
    raw.transactions.insert_one(row)
    closed = {"who": "reconciliation", "why": f"it is {row['_id']}'s", "at": AT}
    raised = {"_id": "brk_3", "version": 2, "subject": f"passed_on:{row['_id']}", "type": "missing_in_ledger"}
    raised |= {"status": "resolved", "first_seen": AT, "updated_at": AT, "standing": [["external", WALLETS[1]]]}
    sides = {"sender": address(1).lower(), "recipient": address(2).lower(), "amount": str(2 * UNIT)}
    raised |= {"bookings": 1, "amount": str(2 * UNIT), **place, "log_index": 0, "found": sides, "resolution": closed}
    raw.breaks.insert_one(raised)
    passed = {"_id": "brk_3:0", "break_id": "brk_3", "transaction_id": "brk_3", "amount": units(2), "at": AT}
    parties = {"origin": {"account": "external"}, "target": {"account": WALLETS[1]}}
    raw.corrections.insert_one({**passed, **parties, "is_unsummed": True})
    _book(raw, row["_id"], -2, {"transaction_id": row["_id"], "amount": units(2), "at": row["updated_at"]})
    _book(raw, "brk_3:0", 2, {"transaction_id": "brk_3", "break_id": "brk_3", "amount": units(2), "at": AT})
    noted = {"greet": None, "greeted_at": AT}
    raw.controls.update_one({"_id": "reconciliation"}, {"$set": noted})


def _book(raw: Raw, name: str, gets: int, line: Row) -> None:
    """Two entries between `external` and a wallet: the first pays, the second is paid."""
    wallet, ways = (WALLETS[0], ("debit", "credit")) if gets < 0 else (WALLETS[1], ("credit", "debit"))
    moved = {"posted": units(gets), "available": units(gets), "sequence": 1, "version": 1}
    raw.accounts.update_one({"_id": wallet}, {"$inc": moved})
    account: Any = raw.accounts.find_one({"_id": wallet})
    numbered = {"account_sequence": account["sequence"], "balance_after": account["posted"]}
    own = {"_id": f"{name}:{ways[0]}", "account": wallet, "direction": ways[0], **line, **numbered}
    other = {"_id": f"{name}:{ways[1]}", "account": "external", "direction": ways[1], **line}
    raw.entries.insert_many([own, other])


BUILDERS: dict[int, Callable[[Raw], None]] = {number: globals()[f"version_{number}"] for number in range(1, 11)}


def fill(raw: Raw, version: int) -> None:
    """What the code of that version, and of all before it, has left."""
    for number in range(1, version + 1):
        BUILDERS[number](raw)

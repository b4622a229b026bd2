"""The judges of what is told: I5, each change one event, numbered without a gap and delivered; I6, no secret in it."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import sha256
from operator import itemgetter

from getsmart.amounts import format_units
from getsmart.mongo import to_units
from tests.simulation.checkers import Check
from tests.simulation.facts import WITH_OUTBOX, Facts
from tests.simulation.world import Row

_SECRETS = re.compile(r"@example\.com|gsk_[a-z]+_[0-9A-Za-z_]+|whsec_[A-Za-z0-9+/=]+|account_secret_")
_ENDS = {
    "enabled": {"delivered"},
    "paused": {"delivered", "pending"},
    "disabled": {"delivered", "dead"},
    "removed": {"delivered", "dead"},
}


def numbered(facts: Facts) -> Iterator[str]:
    """I5: each client's events have the numbers from 1 on, and each happened once."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in facts.rows["events"]:
        numbers[event["client_id"]].append(event["sequence"])
    for client, found in numbers.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            yield f"I5: the events of {client} have the numbers {sorted(found)}"
    for name in WITH_OUTBOX:
        for row in facts.rows[name]:
            if row.get("outbox"):
                yield f"I5: {row['_id']} has {len(row['outbox'])} events without a number"


def each_change_told(facts: Facts) -> Iterator[str]:
    """I5: a transaction has an event for each step of its timeline, in order; a link and a batch have one each."""
    for row in facts.transactions:
        told = [event["type"] for event in facts.events_of(transaction_id=row["_id"])]
        if told != [f"transaction.{step['status']}" for step in row["timeline"]]:
            yield f"I5: of {row['_id']} is told {told}, and happened {[step['status'] for step in row['timeline']]}"
    for row in facts.rows["wallets"]:
        told = [event["client_id"] for event in facts.events_of(wallet_id=row["_id"])]
        if Counter(told) != Counter(link["client_id"] for link in row["links"]):
            yield f"I5: of {row['_id']} is told to {told}"
    for row in facts.rows["batches"]:
        told = [event["type"] for event in facts.events_of(batch_id=row["_id"]) if event["type"].startswith("batch")]
        if told != (["batch.completed"] if row["status"] == "completed" else []):
            yield f"I5: of {row['_id']} is told {told}"


def receipts_are_true(facts: Facts) -> Iterator[str]:
    """I5: a completed batch is told with the rows as they are in the end; its root is theirs, by docs/airdrop.md."""
    for batch in facts.rows["batches"]:
        if batch["status"] != "completed":
            continue
        made = {row["batch_row"]: row for row in facts.transactions if row.get("batch_id") == batch["_id"]}
        kept = sorted(
            (row for row in facts.rows["batch_rows"] if row["batch_id"] == batch["_id"]), key=itemgetter("row")
        )
        leaves = [_leaf(row, made[row["row"]]) for row in kept if row["row"] in made]
        if _root(leaves).hex() != batch["merkle_root"]:
            yield f"I5: the receipt of {batch['_id']} is not of its rows as they ended"
        for event in facts.events_of(batch_id=batch["_id"]):
            counts = {name: count for name, count in json.loads(event["data"]).get("counts", {}).items() if count}
            if event["type"] == "batch.completed" and counts != Counter(row["status"] for row in made.values()):
                yield f"I5: {batch['_id']} is told to be completed with {counts}"


def _leaf(row: Row, made: Row) -> bytes:
    content = {name: row[name] for name in ("row", "wallet_id")} | {"amount": format_units(to_units(row["amount"]))}
    content |= {"transaction_id": made["_id"], "status": made["status"], "tx_hash": made.get("tx_hash")}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(leaves) < 2:
        return sha256(b"\0" + leaves[0] if leaves else b"").digest()
    place = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + _root(leaves[:place]) + _root(leaves[place:])).digest()


def delivered(facts: Facts) -> Iterator[str]:
    """I5: whoever subscribed was told of each event at least once, or it stands as dead."""
    arrived = {(url, event["event_id"]) for url, event in facts.received}
    for endpoint in facts.rows["endpoints"]:
        own = [row for row in facts.rows["deliveries"] if row["endpoint_id"] == endpoint["_id"]]
        if len({row["event_id"] for row in own}) != len(own):
            yield f"I5: {endpoint['_id']} has two deliveries of one event"
        wanted = {event["_id"] for event in facts.rows["events"] if _is_owed(facts, endpoint, event)}
        missing = wanted - {row["event_id"] for row in own}
        if endpoint["status"] in ("enabled", "paused") and missing:
            yield f"I5: {endpoint['_id']} is not to be told of {len(missing)} events that it wants"
        for row in own:
            if row["status"] not in _ENDS[endpoint["status"]]:
                yield f"I5: {row['_id']} to an {endpoint['status']} endpoint is {row['status']}"
            if row["status"] == "delivered" and (endpoint["url"], row["event_id"]) not in arrived:
                yield f"I5: {row['_id']} is said to be delivered, and never arrived"


def told_truly(facts: Facts) -> Iterator[str]:
    """I5: what arrived is the event, with its number."""
    events = {event["_id"]: event for event in facts.rows["events"]}
    for _, told in facts.received:
        known = events.get(told["event_id"])
        if known is None or (told["sequence"], told["data"]) != (known["sequence"], json.loads(known["data"])):
            yield f"I5: what was told of {told['event_id']} is not the event"


def _is_owed(facts: Facts, endpoint: Row, event: Row) -> bool:
    """Its client's events of the types it asked for that came after it, as the run saw them come and no clock says."""
    if event["client_id"] != endpoint["client_id"] or event["_id"] in facts.before[endpoint["_id"]]:
        return False
    if "endpoint_id" in event:
        return bool(event["endpoint_id"] == endpoint["_id"])
    return endpoint["event_types"] is None or event["type"] in endpoint["event_types"]


def no_secret_leaves(facts: Facts) -> Iterator[str]:
    """I6: neither logs nor events have an address of a person, a key, a secret or a consent token in them."""
    texts = {"the log": facts.logged, "an event": "".join(event["data"] for event in facts.rows["events"])}
    for where, text in texts.items():
        found = _SECRETS.search(text)
        if found or any(token in text for token in facts.consent_tokens):
            yield f"I6: a secret in {where}: {found.group()[:12] if found else 'a consent token'}"


IN_THE_END: tuple[Check, ...] = (numbered, each_change_told, receipts_are_true, delivered, told_truly)
ALWAYS: tuple[Check, ...] = (no_secret_leaves,)

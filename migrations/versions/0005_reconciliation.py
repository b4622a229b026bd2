"""Reconciliation: breaks, what they book, the Transfers that wait, and what rows are found by on the chain.

Revision: 0005
Only adds, so that code of the revision before goes on working.
"""

from bson import Decimal128

revision = "0005"
down_revision = "0004"
reversible = True

TEXT = {"$type": "string"}
COUNT = {"$type": "number"}
TYPES = [
    "ambiguous",
    "missing_on_chain",
    "missing_in_ledger",
    "amount_mismatch",
    "party_mismatch",
    "reorged",
]

VALIDATORS = {
    "breaks": {"subject": TEXT, "type": {"$in": TYPES}, "status": {"$in": ["open", "resolved"]}, "version": COUNT},
    "corrections": {
        "break_id": TEXT,
        "transaction_id": TEXT,
        "amount": {"$type": "decimal", "$gt": Decimal128("0")},
        "at": {"$type": "date"},
    },
    "sightings": {"tx_hash": TEXT, "log_index": COUNT, "block_number": COUNT, "amount": TEXT},
    "blocks": {"number": COUNT, "hash": TEXT},
}

INDEXES = [
    ("breaks", [("subject", 1)], "subject", {"unique": True}),
    ("breaks", [("status", 1), ("_id", 1)], "status", {}),
    ("breaks", [("due", 1)], "due", {"sparse": True}),
    ("breaks", [("tx_hash", 1), ("log_index", 1)], "log", {"sparse": True}),
    ("breaks", [("transaction_id", 1)], "transaction", {"sparse": True}),
    ("breaks", [("block_number", 1)], "block", {"sparse": True}),
    ("breaks", [("found.recipient", 1), ("found.sender", 1), ("found.amount", 1)], "parties", {"sparse": True}),
    ("corrections", [("break_id", 1)], "break", {}),
    ("corrections", [("is_unsummed", 1)], "unsummed", {"sparse": True}),
    ("sightings", [("due_at", 1)], "due", {}),
    ("sightings", [("recipient", 1), ("sender", 1), ("amount", 1)], "parties", {}),
    ("sightings", [("block_number", 1)], "block", {}),
    ("blocks", [("number", 1)], "number", {}),
    ("transactions", [("block_number", 1)], "block", {"sparse": True}),
    ("transactions", [("is_unwitnessed", 1)], "unwitnessed", {"sparse": True}),
]


def upgrade(ctx):
    """Validators of the new collections first, then every index."""
    for collection, validator in VALIDATORS.items():
        ctx.ops.set_validator(collection, validator, level="strict")
    for collection, keys, name, options in INDEXES:
        ctx.ops.create_index(collection, keys, name=name, **options)


def downgrade(ctx):
    """Back to what the revision before knows."""
    for collection, _, name, _ in reversed(INDEXES):
        if collection not in VALIDATORS:
            ctx.ops.drop_index(collection, name)
    for collection in VALIDATORS:
        ctx.ops.drop_collection(collection)

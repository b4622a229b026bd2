"""Consent, airdrops and daily ceilings: the indexes and validators they need.

Revision: 0003
Only adds, so that code of the revision before goes on working.
"""

from bson import Decimal128

revision = "0003"
down_revision = "0002"
reversible = True

ZERO = Decimal128("0")
AMOUNT = {"$type": "decimal", "$gt": ZERO}
COUNT = {"$type": "number", "$gte": 0}
TEXT = {"$type": "string"}

VALIDATORS = {
    "batches": {
        "client_id": TEXT,
        "reference": TEXT,
        "status": {"$in": ["accepting", "queued", "running", "completed"]},
        "amount": AMOUNT,
        "held": {"$type": "decimal", "$gte": ZERO},
        "total": COUNT,
        "unfolded": COUNT,
    },
    "batch_rows": {"batch_id": TEXT, "row": COUNT, "wallet_id": TEXT, "amount": AMOUNT},
    "ceilings": {"day": {"$type": "number"}},
}

INDEXES = [
    ("transactions", [("consent_token", 1)], "consent_token", {"unique": True, "sparse": True}),
    ("transactions", [("tx_hash", 1)], "tx_hash", {"sparse": True}),
    ("transactions", [("batch_id", 1), ("batch_row", 1)], "batch_row", {"unique": True, "sparse": True}),
    ("transactions", [("batch_id", 1), ("status", 1)], "batch_status", {}),
    ("batches", [("client_id", 1), ("reference", 1)], "reference", {"unique": True}),
    ("batches", [("client_id", 1), ("idempotency_keys", 1)], "idempotency", {"unique": True}),
    ("batches", [("status", 1), ("created_at", 1)], "status", {}),
    ("batches", [("outbox.created_at", 1)], "outbox", {"sparse": True}),
    ("batch_rows", [("batch_id", 1), ("row", 1)], "row", {"unique": True}),
    ("batch_rows", [("batch_id", 1), ("wallet_id", 1), ("row", 1)], "wallet", {}),
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

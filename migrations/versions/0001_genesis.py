"""Genesis: collections, indexes, validators, and the first ledger entry (20,000,000 GETS to the treasury).

Revision: 0001
Validators are query operators, as $jsonSchema's minimum ignores Decimal128 on the embedded database.
"""

from bson import Decimal128

revision = "0001"
down_revision = None
reversible = True

ZERO = Decimal128("0")
UNIT = 10**18
GENESIS = 20_000_000 * UNIT
MAX_SUPPLY = 1_000_000_000_000 * UNIT

AMOUNT = {"$type": "decimal", "$gt": ZERO}
BALANCE = {"$type": "decimal", "$gte": ZERO}
ABSENT = {"$exists": False}
STATUSES = ["queued", "awaiting_consent", "submitted", "unknown", "confirmed", "failed", "cancelled", "expired"]

VALIDATORS = {
    "transactions": {
        "client_id": {"$type": "string"},
        "idempotency_key": {"$type": "string"},
        "status": {"$in": STATUSES},
        "kind": {"$in": ["mint", "transfer", "burn"]},
        "amount": AMOUNT,
        "version": {"$type": "number"},
    },
    "entries": {
        "transaction_id": {"$type": "string"},
        "account": {"$type": "string"},
        "direction": {"$in": ["debit", "credit"]},
        "amount": AMOUNT,
        "at": {"$type": "date"},
    },
    "accounts": {"posted": BALANCE, "available": BALANCE, "sequence": {"$type": "number"}},
    "controls": {"$or": [{"available": ABSENT}, {"available": BALANCE}]},
    "wallets": {"address": {"$type": "string"}, "links": {"$type": "array"}},
    "api_keys": {"secret_sha256": {"$type": "string"}, "client_id": {"$type": "string"}},
    "events": {"sequence": {"$type": "number"}, "client_id": {"$type": "string"}, "type": {"$type": "string"}},
    "inbound_events": {"applied_at": {"$type": "date"}},
    "leases": {"until": {"$type": "date"}},
}

TEXT = {"$type": "string"}
INDEXES = [
    # Sparse and not partial: MongoDB does not use an index that is partial on $type for a plain equality.
    ("wallets", [("email", 1)], "email", {"unique": True, "sparse": True}),
    ("wallets", [("address_key", 1)], "address", {"unique": True}),
    ("wallets", [("links.client_id", 1), ("created_at", 1)], "client", {}),
    ("wallets", [("outbox.created_at", 1)], "outbox", {"sparse": True}),
    ("transactions", [("client_id", 1), ("route", 1), ("idempotency_key", 1)], "idempotency", {"unique": True}),
    (
        "transactions",
        [("client_id", 1), ("badge_lock.badge_id", 1), ("badge_lock.claimant", 1)],
        "badge",
        {"unique": True, "partialFilterExpression": {"badge_lock.badge_id": TEXT}},
    ),
    (
        "transactions",
        [("settlement.tx_hash", 1), ("settlement.log_index", 1)],
        "settlement",
        {"unique": True, "partialFilterExpression": {"settlement.tx_hash": TEXT}},
    ),
    ("transactions", [("metakeep_transaction_id", 1)], "metakeep", {"unique": True, "sparse": True}),
    ("transactions", [("status", 1), ("due_at", 1)], "due", {}),
    ("transactions", [("status", 1), ("created_at", 1)], "oldest", {}),
    ("transactions", [("incoming_wallet_id", 1)], "incoming", {"sparse": True}),
    ("transactions", [("is_unsummed", 1)], "unsummed", {"sparse": True}),
    ("transactions", [("hold.name", 1), ("hold.state", 1), ("updated_at", 1)], "hold", {}),
    ("transactions", [("outbox.created_at", 1)], "outbox", {"sparse": True}),
    (
        "entries",
        [("account", 1), ("account_sequence", 1)],
        "account",
        {"unique": True, "partialFilterExpression": {"account_sequence": {"$type": "number"}}},
    ),
    ("entries", [("account", 1), ("at", 1)], "account_at", {}),
    ("entries", [("transaction_id", 1)], "transaction", {}),
    ("accounts", [("taken_at", 1)], "taken", {"sparse": True}),
    ("events", [("client_id", 1), ("sequence", 1)], "sequence", {"unique": True}),
    ("inbound_events", [("applied_at", 1)], "ttl", {"expireAfterSeconds": 90 * 24 * 3600}),
    ("api_keys", [("client_id", 1)], "client", {}),
]


def upgrade(ctx):
    """Everything an empty database needs."""
    for collection, validator in VALIDATORS.items():
        ctx.ops.set_validator(collection, validator, level="strict")
    for collection, keys, name, options in INDEXES:
        ctx.ops.create_index(collection, keys, name=name, **options)
    _genesis(ctx)


def _genesis(ctx):
    """Repeatable: each document is written only where it is not there yet."""
    amount, negative = Decimal128(str(GENESIS)), Decimal128(str(-GENESIS))
    free = Decimal128(str(MAX_SUPPLY - GENESIS))
    controls = {
        "supply": {"available": free, "version": 0},
        "treasury": {"available": amount, "version": 0},
        "books": {
            "issuance": negative,
            "treasury": amount,
            "burned": ZERO,
            "external": ZERO,
            "wallets": ZERO,
            "transactions": 1,
            "version": 0,
        },
        "colour": {"active": "blue"},
    }
    for name, content in controls.items():
        ctx.collection("controls").update_one({"_id": name}, {"$setOnInsert": content}, upsert=True)
    for direction, account in (("debit", "issuance"), ("credit", "treasury")):
        ctx.collection("entries").update_one(
            {"_id": f"genesis:{direction}"},
            {
                "$setOnInsert": {
                    "transaction_id": "genesis",
                    "account": account,
                    "direction": direction,
                    "amount": amount,
                },
                "$currentDate": {"at": True},
            },
            upsert=True,
        )


def downgrade(ctx):
    """Back to an empty database; refused by mongomig without confirmation, as it deletes everything."""
    for collection in VALIDATORS:
        ctx.ops.drop_collection(collection)

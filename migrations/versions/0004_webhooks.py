"""Outbound webhooks: endpoints, deliveries, replays, and what the event log is read by.

Revision: 0004
Only adds, so that code of the revision before goes on working.
"""

revision = "0004"
down_revision = "0003"
reversible = True

TEXT = {"$type": "string"}
COUNT = {"$type": "number"}

VALIDATORS = {
    "endpoints": {
        "client_id": TEXT,
        "url": TEXT,
        "mode": {"$in": ["live", "test"]},
        "status": {"$in": ["enabled", "paused", "disabled", "removed"]},
        "revision": COUNT,
        "wakes": COUNT,
        "failures": COUNT,
    },
    "deliveries": {
        "client_id": TEXT,
        "endpoint_id": TEXT,
        "event_id": TEXT,
        "sequence": COUNT,
        "status": {"$in": ["pending", "delivered", "dead"]},
    },
    "replays": {"client_id": TEXT, "status": {"$in": ["queued", "completed"]}},
}

INDEXES = [
    ("endpoints", [("client_id", 1), ("_id", 1)], "client_newest", {}),
    (
        "endpoints",
        [("client_id", 1), ("slot", 1)],
        "slot",
        {"unique": True, "partialFilterExpression": {"slot": COUNT}},
    ),
    ("endpoints", [("status", 1), ("is_doubtful", 1), ("due_at", 1)], "due", {}),
    ("endpoints", [("outbox.created_at", 1)], "outbox", {"sparse": True}),
    ("endpoints", [("has_waiting", 1)], "waiting", {"sparse": True}),
    ("endpoints", [("attempted_at", 1)], "attempted", {"sparse": True}),
    ("deliveries", [("endpoint_id", 1), ("event_id", 1)], "once", {"unique": True}),
    ("deliveries", [("endpoint_id", 1), ("status", 1), ("sequence", 1)], "next", {}),
    ("deliveries", [("event_id", 1)], "event", {}),
    ("deliveries", [("client_id", 1), ("_id", 1)], "client_newest", {}),
    ("deliveries", [("client_id", 1), ("status", 1), ("_id", 1)], "client_status_newest", {}),
    ("deliveries", [("endpoint_id", 1), ("_id", 1)], "endpoint_newest", {}),
    ("deliveries", [("replay_id", 1), ("status", 1), ("_id", 1)], "replay", {"sparse": True}),
    ("deliveries", [("status", 1)], "status", {}),
    ("replays", [("status", 1), ("created_at", 1)], "open", {}),
    ("events", [("client_id", 1), ("type", 1), ("sequence", 1)], "type_sequence", {}),
    ("events", [("created_at", 1)], "age", {}),
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

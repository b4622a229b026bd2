"""Failures: what went wrong in a call or a pass of the tick, for two weeks.

Revision: 0006
Only adds, so that code of the revision before goes on working.
"""

revision = "0006"
down_revision = "0005"
reversible = True

TEXT = {"$type": "string"}
VALIDATOR = {"at": {"$type": "date"}, "event": TEXT, "code": TEXT}
INDEXES = [
    ([("at", 1)], "ttl", {"expireAfterSeconds": 14 * 24 * 3600}),
    ([("request_id", 1)], "request", {"sparse": True}),
]


def upgrade(ctx):
    """The collection with its validator, then its indexes."""
    ctx.ops.set_validator("failures", VALIDATOR, level="strict")
    for keys, name, options in INDEXES:
        ctx.ops.create_index("failures", keys, name=name, **options)


def downgrade(ctx):
    """What is in it was logged as well."""
    ctx.ops.drop_collection("failures")

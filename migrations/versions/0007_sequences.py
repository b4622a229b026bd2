"""Sequences: where the sequencer left off with each client's events. The last collection that a first write had made.

Revision: 0007
Only adds, so that code of the revision before goes on working.
"""

revision = "0007"
down_revision = "0006"
reversible = True

VALIDATOR = {"last": {"$type": ["int", "long"]}}


def upgrade(ctx):
    """The collection with its validator: a server that dies while it makes one need not come up again."""
    ctx.ops.set_validator("sequences", VALIDATOR, level="strict")


def downgrade(ctx):
    """The events themselves have their numbers: what is in here only spares a read of them all."""
    ctx.ops.drop_collection("sequences")

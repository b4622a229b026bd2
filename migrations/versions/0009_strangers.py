"""Strangers who become holders: what was moved from or to an address before it was a wallet of ours is found by it.

Revision: 0009
"""

revision = "0009"
down_revision = "0008"
reversible = True
phase = "expand"

INDEXES = {"found_sender": "found.sender", "found_recipient": "found.recipient"}


def upgrade(ctx):
    """Page by page in the order of ids."""
    for name, side in INDEXES.items():
        ctx.ops.create_index("breaks", [(side, 1), ("_id", 1)], name=name)


def downgrade(ctx):
    """The code before does not ask for them."""
    for name in INDEXES:
        ctx.ops.drop_index("breaks", name)

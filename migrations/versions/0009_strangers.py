"""Strangers who become holders: what was moved from an address before it was a wallet of ours is found by it.

Revision: 0009
"""

revision = "0009"
down_revision = "0008"
reversible = True
phase = "expand"

INDEX = "found_sender"


def upgrade(ctx):
    """Sparse, as breaks about a transaction alone have nothing found; by recipient there is `parties` of 0005."""
    ctx.ops.create_index("breaks", [("found.sender", 1)], name=INDEX, sparse=True)


def downgrade(ctx):
    """The code before does not ask for them."""
    ctx.ops.drop_index("breaks", INDEX)

"""Outside addresses that our own transactions have paid to: found by address when one becomes a wallet of ours.

Revision: 0010
"""

revision = "0010"
down_revision = "0009"
reversible = True
phase = "expand"

INDEX = "paid_outside"


def upgrade(ctx):
    """Of those alone: most transactions are to wallets, and pay nothing for this. What is passed on is passed over."""
    keys, outside = [("target.address", 1), ("passed_on", 1)], {"target.account": "external"}
    ctx.ops.create_index("transactions", keys, name=INDEX, partialFilterExpression=outside)


def downgrade(ctx):
    """The code before does not ask for them."""
    ctx.ops.drop_index("transactions", INDEX)

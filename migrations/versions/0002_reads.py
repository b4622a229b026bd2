"""Reads: the compound indexes that lists, statements and balances of the past are found by.

Revision: 0002
Lists run by id, newest first, so each index ends in `_id`. Plain indexes, not partial ones: equality does not imply
`$type`, so neither MongoDB nor the embedded database would use those.
"""

revision = "0002"
down_revision = "0001"
reversible = True

INDEXES = [
    ("wallets", [("links.client_id", 1), ("_id", 1)], "client_newest"),
    ("wallets", [("links.client_id", 1), ("email", 1)], "client_email"),
    ("wallets", [("links.label", 1), ("links.client_id", 1), ("_id", 1)], "label_newest"),
    ("transactions", [("client_id", 1), ("_id", 1)], "client_newest"),
    ("transactions", [("client_id", 1), ("status", 1), ("_id", 1)], "client_status_newest"),
    ("transactions", [("client_id", 1), ("kind", 1), ("_id", 1)], "client_kind_newest"),
    ("transactions", [("origin.wallet_id", 1), ("client_id", 1), ("_id", 1)], "origin_newest"),
    ("transactions", [("target.wallet_id", 1), ("client_id", 1), ("_id", 1)], "target_newest"),
    ("transactions", [("batch_id", 1), ("_id", 1)], "batch_newest"),
    ("transactions", [("badge_claim.badge_id", 1), ("client_id", 1), ("_id", 1)], "badge_newest"),
    ("entries", [("account", 1), ("at", 1), ("account_sequence", 1)], "account_order"),
]


def upgrade(ctx):
    """Only adds: the code before and after runs on it."""
    for collection, keys, name in INDEXES:
        ctx.ops.create_index(collection, keys, name=name)


def downgrade(ctx):
    """Without them every query still finds the same, slower."""
    for collection, _, name in INDEXES:
        ctx.ops.drop_index(collection, name)

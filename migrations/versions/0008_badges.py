"""Badges: the claims of one badge by one claimant, the ended ones as well, which a new claim of it counts.

Revision: 0008
"""

revision = "0008"
down_revision = "0007"
reversible = True
phase = "expand"

INDEX = "badge_claimant"


def upgrade(ctx):
    """Sparse, so that other transactions are not in it; one claimant has few claims of a badge, whoever asks."""
    ctx.ops.create_index(
        "transactions", [("badge_claim.claimant", 1), ("badge_claim.badge_id", 1)], name=INDEX, sparse=True
    )


def downgrade(ctx):
    """The code before does not ask for them."""
    ctx.ops.drop_index("transactions", INDEX)

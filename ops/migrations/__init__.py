"""Schema migrations: mongomig's lock, tracking and resume; our phases, and the rule that spares whoever serves."""

from ops.migrations.running import down, status, up

__all__ = ["down", "status", "up"]

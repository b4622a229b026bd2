"""What docs/runbooks/disaster-recovery.md promises; a test compares."""

from datetime import timedelta

RECOVERY_POINT = timedelta(minutes=10)
"""At most so much of what was written may be lost."""

RECOVERY_TIME = timedelta(minutes=30)
"""So long after the decision to restore, at most, money moves again."""

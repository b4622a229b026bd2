"""mongomig's lock, and the end of one whose holder died, on every database that we run on."""

from mongomig.migrations.lock import LOCK_DOC_ID, MigrationLock


class Lock(MigrationLock):
    """mongomig takes an expired lock over by an expression that compares dates, which the embedded database cannot.

    So an expired one is taken away before, by a plain query and the server's clock: whoever held it and still lives
    finds it gone at its next beat, and stops, as when it had been taken over.
    """

    def try_acquire(self) -> bool:  # noqa: D102 - see MigrationLock
        now = self.db.client.admin.command("hello")["localTime"]
        self.collection.delete_one({"_id": LOCK_DOC_ID, "expires_at": {"$lt": now}})
        return super().try_acquire()

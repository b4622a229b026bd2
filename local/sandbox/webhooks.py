"""The webhook sender: takes due events from the outbox, signs each attempt afresh and retries until it is heard."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests
from standardwebhooks import Webhook

from getsmart.metakeep.signing import SigningKey, string_to_sign
from local.sandbox import credentials
from local.sandbox.store import Row
from local.sandbox.world import World

RETRY_MS = (1_000, 2_000, 5_000, 10_000, 30_000)  # the last one repeats
MAX_ATTEMPTS = 50
TIMEOUT_SECONDS = 10
WORKERS = 4
_POLL_SECONDS = 0.1
_BATCH = 64
_DUE = "SELECT * FROM outbox WHERE state = 'pending' AND next_ms <= ? ORDER BY next_ms, seq LIMIT ?"
_STALE_MS = 10 * 60 * 1000
SCHEMES = ("p256", "standard")
FORGERIES = ("wrong_signature", "unknown_key", "stale_timestamp")


@dataclass
class Sender:
    """Runs beside the servers in threads of its own; requests never wait for it."""

    world: World
    _stopping: threading.Event = field(default_factory=threading.Event)
    _busy: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Read the keys; nothing runs before `start`."""
        self._key = SigningKey.from_secret(self.world.credentials.webhook_sender_secret)
        self._stranger = SigningKey.from_secret(credentials.random_secret())
        self._secret = Webhook(self.world.credentials.webhook_secret)
        self._other_secret = Webhook(credentials.random_webhook_secret())
        self._sessions = threading.local()

    def start(self) -> None:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="webhook")
        self._thread = threading.Thread(target=self._loop, name="webhook-outbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the attempts under way and stop."""
        self._stopping.set()
        self.world.news.set()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self.world.news.wait(_POLL_SECONDS)
            self.world.news.clear()
            for row in self._due():
                self._busy.add(row["seq"])
                self._pool.submit(self._attempt, row)

    def _due(self) -> list[Row]:
        """What is to be sent now; the notes on what was sent before are written first."""
        busy = set(self._busy)  # before the look: an attempt that ends meanwhile still reads as pending
        with self.world.change(flush=True):
            rows = self.world.store.rows(_DUE, self.world.clock.real(), _BATCH)
        return [row for row in rows if row["seq"] not in busy]

    def _attempt(self, row: Row) -> None:
        try:
            status = self._post(row)
            self._note(row, status)
        finally:
            self._busy.discard(row["seq"])

    def _note(self, row: Row, status: int | None) -> None:
        """Write down the attempt; it may be lost in a crash, then the event is told once more."""
        now, attempts = self.world.clock.real(), row["attempts"] + 1
        is_over = (status is not None and 200 <= status < 300) or row["kind"] == "forged"
        state = "done" if is_over else "pending" if attempts < MAX_ATTEMPTS else "dead"
        next_ms = now + RETRY_MS[min(attempts, len(RETRY_MS)) - 1]
        self.world.store.defer(
            "UPDATE outbox SET attempts = ?, next_ms = ?, state = ? WHERE seq = ?",
            *(attempts, next_ms, state, row["seq"]),
        )
        self.world.store.defer(
            "INSERT INTO deliveries (event_id, type, transaction_id, kind, http_status, at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(row["event_id"], row["type"], row["transaction_id"], row["kind"], status, now),
        )

    def _post(self, row: Row) -> int | None:
        """The receiver's HTTP status, or None when it could not be reached."""
        body, url = row["payload"].encode(), self.world.options.webhook_url or ""
        headers = self._headers(row, urlsplit(url).path or "/", body)
        try:
            reply = self._session().post(
                url, data=body, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
            )
        except requests.RequestException:
            return None
        return reply.status_code

    def _session(self) -> requests.Session:
        """One kept-alive connection a worker; proxies of the environment are not for loopback."""
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
            self._sessions.session.trust_env = False
        session: requests.Session = self._sessions.session
        return session

    def _headers(self, row: Row, path: str, body: bytes) -> dict[str, str]:
        signed = (
            self._standard(row, body)
            if self.world.options.webhook_scheme == "standard"
            else self._p256(row, path, body)
        )
        return {**signed, "Content-Type": "application/json"}

    def _standard(self, row: Row, body: bytes) -> dict[str, str]:
        forgery = self._forgery(row)
        at = datetime.fromtimestamp(
            (self.world.clock.real() - (_STALE_MS if forgery == "stale_timestamp" else 0)) // 1000, UTC
        )
        signer = self._other_secret if forgery in ("wrong_signature", "unknown_key") else self._secret
        return {
            "webhook-id": row["event_id"],
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signer.sign(row["event_id"], at, body.decode()),
        }

    @staticmethod
    def _forgery(row: Row) -> str:
        return FORGERIES[row["seq"] % len(FORGERIES)] if row["kind"] == "forged" else ""

    def _p256(self, row: Row, path: str, body: bytes) -> dict[str, str]:
        forgery = self._forgery(row)
        timestamp = str(self.world.clock.real() - (_STALE_MS if forgery == "stale_timestamp" else 0))
        message = string_to_sign(
            host=self.world.options.webhook_host,
            method="POST",
            path=path,
            timestamp=timestamp,
            body=body,
            idempotency_key=row["event_id"],
        )
        signer = self._stranger if forgery in ("wrong_signature", "unknown_key") else self._key
        named = self._stranger if forgery == "unknown_key" else self._key
        return {
            "x-api-key": named.public_key,
            "X-Timestamp": timestamp,
            "X-Api-Signature": signer.sign(message),
            "Idempotency-Key": row["event_id"],
        }

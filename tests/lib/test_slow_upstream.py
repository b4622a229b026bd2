"""An upstream that is slow and not dead: a call gives it up in time to answer, before the platform ends the call."""

import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from getsmart import clock, config, mongo
from getsmart.metakeep import client
from getsmart.mongo import Document
from tests.edge import assert_refused
from tests.money import BEYOND_LEASES, MINT_PATH, Bench, Killed
from tests.support import unique

GRACE_SECONDS = 4.0  # for a machine that does other things too


class SlowLine:
    """Carries bytes between callers and a server, and lets each piece of an answer wait for `seconds`."""

    def __init__(self, host: str, port: int) -> None:
        self.seconds = 0.0
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No further callers."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            threading.Thread(target=self._carry, args=(caller, server, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, caller, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_slow: bool) -> None:
        with source, target:
            try:
                while piece := source.recv(65_536):
                    time.sleep(self.seconds if is_slow else 0)
                    target.sendall(piece)
            except OSError:
                pass  # the other side has gone


@pytest.fixture
def line(bench: Bench, database_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLine]:
    """The way from the functions to the database, connected."""
    server = urlsplit(database_uri)
    slow = SlowLine(server.hostname or "", server.port or 27017)
    monkeypatch.setenv("MONGODB_URI", f"mongodb://127.0.0.1:{slow.port}/?{server.query}&directConnection=true")
    config.forget()
    mongo.forget()
    assert bench.balance()["posted"] == "0"
    yield slow
    slow.seconds = 0.0
    mongo.forget()
    slow.close()


def seconds_of(bench: Bench, key: str) -> tuple[float, int, str]:
    """How long a mint takes, and what it is answered: status, and code or state."""
    started = time.monotonic()
    answer = bench.mint(key=key)
    took = time.monotonic() - started
    return took, answer.status, answer.data["status"] if answer.status == 202 else answer.code


def test_the_longest_call_is_answered_before_the_platform_answers() -> None:
    """What begins last may still find a server, take its time in the database, and leave a start its own."""
    last = mongo._SERVER_SELECTION_MS / 1_000 + max(mongo._OPERATION_MS / 1_000, mongo._TRANSACTION_SECONDS)
    assert clock.CALL_SECONDS + last <= 28.0


def test_a_slow_database_is_given_up_and_nothing_happens_twice(
    bench: Bench, line: SlowLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer is good and late: 503 in time; the same call with the same key, later, is one mint."""
    key = unique("late")
    line.seconds = 1.0
    with monkeypatch.context() as patch:
        patch.setattr(clock, "CALL_SECONDS", 2.5)
        took, status, code = seconds_of(bench, key)
    assert (status, code) == (503, "database_unavailable")
    assert took < 2.5 + 1.0 + GRACE_SECONDS
    line.seconds = 0.0
    bench.time.advance(BEYOND_LEASES)
    assert bench.mint(key=key).status == 202
    bench.settle()
    assert (bench.status(bench.only_row()["_id"]), bench.logs()) == ("confirmed", 1)


def test_a_slow_provider_is_given_up_and_asked_again_by_the_tick(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """MetaKeep has done it and does not say so: 202 `queued` in time, and one mint in the end."""
    monkeypatch.setattr(clock, "CALL_SECONDS", client.ANSWER_SECONDS + 1.5)
    bench.provider.fault(MINT_PATH, "slow", delay_ms=30_000, times=9)
    took, status, state = seconds_of(bench, unique("slow"))
    assert (status, state) == (202, "queued")
    assert took < client.ANSWER_SECONDS + 1.5 + GRACE_SECONDS
    bench.provider.clear()
    bench.settle(3)
    bench.audit()
    assert (bench.status(bench.only_row()["_id"]), bench.logs()) == ("confirmed", 1)


def test_a_call_that_is_late_does_not_ask_the_provider(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """504 where nothing is claimed, 202 `queued` where it is: no byte leaves whose answer nobody could write down."""
    with monkeypatch.context() as patch:
        patch.setattr(clock, "CALL_SECONDS", client.ANSWER_SECONDS + 0.9)
        late = bench.app.post("wallets/create", {"owner": {"email": f"{unique('late')}@example.com"}})
        answer = bench.mint()
    assert_refused(late, 504, "deadline_exceeded")
    assert (answer.status, answer.data["status"]) == (202, "queued")
    assert bench.mark() == bench.began
    bench.settle()
    assert (bench.status(answer), bench.logs()) == ("confirmed", 1)


def test_time_runs_out_in_calls_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works without a caller, as the tick does, has no end to keep, also after a call that died."""
    assert clock.left() > 1e9

    def dies(*_: object) -> Document:
        assert clock.left() < clock.CALL_SECONDS
        raise Killed

    monkeypatch.setattr("getsmart.stores.wallets.find", dies)
    with pytest.raises(Killed):
        bench.app.get("wallets/get", f"wallet_id={bench.wallet['wallet_id']}")
    assert clock.left() > 1e9

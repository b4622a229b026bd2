"""A call knows itself in every thread that works for it, and what it cost; its one log line says all of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from getsmart import calls, clock, trace
from getsmart.stores import failures
from tests.edge import Raw
from tests.hooks import subscribe
from tests.money import MINT_PATH, Bench
from tests.receiver import Receiver
from tests.support import Answer, Client, call, event, load, unique

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = PARENT.split("-")[1]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log since the last look."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def mint(bench: Bench, **headers: str) -> Answer:
    """A mint into the wallet, and nothing in the log before it."""
    body = {"wallet_id": bench.wallet["wallet_id"], "amount": "5"}
    return bench.app.post("tokens/mint", body, key=unique("call"), **headers)


def test_a_thread_works_for_one_call_and_shares_it_with_its_helpers() -> None:
    """Others know nothing of it."""
    mine = calls.Call("req_1", "a/b", trace.follow(""))
    calls.enter(mine)
    with ThreadPoolExecutor(1, **calls.shared()) as helper, ThreadPoolExecutor(1) as other:
        assert helper.submit(calls.current).result() is mine
        assert other.submit(calls.current).result() is None
    calls.enter(None)
    assert calls.traceparent() == ""


def test_a_money_call_says_what_it_cost(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Who, what, how it ended, its trace, and the time and number of round trips to database and provider."""
    mint(bench)
    capsys.readouterr()
    answer = mint(bench, x_request_id="mine", traceparent=PARENT)
    (line,) = lines(capsys)
    assert (line["event"], line["request_id"], line["trace_id"]) == ("request", "mine", TRACE)
    assert (line["function"], line["method"], line["status"], line["code"]) == ("tokens/mint", "POST", 202, "ok")
    assert (line["version"], line["colour"], line["start"]) == ("test", "blue", "warm")
    assert line["client_id"] == "app"
    assert line["key_id"].startswith("key_")
    assert 3 <= line["database_round_trips"] <= 8
    assert line["provider_calls"] == 1
    assert 0 < line["database_ms"] + line["provider_ms"] <= line["duration_ms"]
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert answer.headers["traceparent"] != PARENT


def test_the_first_call_of_a_function_in_its_process_is_cold(app: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """It imported what the others find imported."""
    load.cache_clear()
    capsys.readouterr()
    for _ in range(3):
        app.get("tokens/info")
    assert [line["start"] for line in lines(capsys)] == ["cold", "warm", "warm"]


def test_nothing_secret_is_in_the_line(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """I6: neither key, token, idempotency key, e-mail address, body nor query, whatever the call does."""
    body = {"owner": {"email": "ada@example.com"}, "label": "s3cret-label"}
    bench.app.post("wallets/create", body)
    bench.app.get("wallets/get", "email=ada%40example.com")
    bench.app.post("tokens/mint", {"wallet_id": "x", "amount": "ada@example.com"}, key="s3cret-key")
    bench.provider.fault(MINT_PATH, "500", 1)
    mint(bench)
    assert bench.app.token
    logged = capsys.readouterr().out
    parts = (
        "ada@",
        "ada%40",
        "s3cret",
        bench.app.token,
        bench.app.token.rpartition("_")[2],
    )  # pragma: allowlist secret
    assert [part for part in parts if part in logged] == []


def test_a_call_that_failed_is_found_by_its_id(app: Client, system: Raw) -> None:
    """The whole line, in the database, as the platform keeps nothing."""
    system.controls.delete_many({})
    answer = app.get("ops/metrics", x_request_id="mine", traceparent=PARENT)
    assert answer.status == 500
    (row,) = failures.find({"request_id": "mine"}, clock.now() - timedelta(minutes=1), 10)
    assert (row["event"], row["code"], row["status"], row["function"]) == ("request", "internal", 500, "ops/metrics")
    assert (row["trace_id"], row["client_id"], row["error_type"]) == (TRACE, "app", "Internal")


def test_the_providers_failures_are_kept_though_the_call_went_well(
    bench: Bench, system: Raw, pauses: list[float]
) -> None:
    """The mint is accepted and waits; why it waits is found by the same id."""
    bench.provider.fault(MINT_PATH, "500", 20)
    answer = mint(bench, x_request_id="waits")
    assert (answer.status, answer.data["status"]) == (202, "queued")
    rows = failures.find({"request_id": "waits"}, clock.now() - timedelta(minutes=1), 10)
    assert [row["code"] for row in rows] == ["transaction.put_off"]
    assert rows[0]["transaction_id"] == answer.data["transaction_id"]


def test_refusals_and_successes_keep_nothing(bench: Bench, system: Raw) -> None:
    """A caller's mistake is no failure of ours."""
    mint(bench)
    assert call("tokens/mint", event("POST", body="{")).status == 401
    nobody = "wlt_" + "7" * 26
    assert bench.app.get("wallets/get", f"wallet_id={nobody}").status == 404
    assert system.failures.count_documents({}) == 0


def test_a_step_of_the_tick_that_fails_is_kept(
    system: Raw, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the run's id, which its one line has too."""
    from getsmart.services import tick
    from getsmart.stores import ledger

    def broken(_limit: int) -> int:
        raise RuntimeError("bob@example.com cannot be summed")

    monkeypatch.setattr(ledger, "sum_confirmed", broken)
    tick.call()
    (row,) = failures.find({"code": "tick.summed_failed"}, clock.now() - timedelta(minutes=1), 10)
    run = lines(capsys)[-1]
    assert (run["event"], run["function"], run["passes"]) == ("tick", "ops/tick", 1)
    assert run["request_id"] == row["request_id"]
    assert run["database_round_trips"] > 5
    assert run["provider_calls"] >= 1
    assert row["error"] == "[redacted] cannot be summed"


def test_what_a_call_causes_is_told_in_its_trace(bench: Bench, receiver: Receiver) -> None:
    """Webhooks of the call, and those that the tick delivers for it later, name the trace and spans of their own."""
    subscribe(bench.app, receiver.url)
    mint(bench, traceparent=PARENT)
    bench.settle()
    parents = [one.headers["traceparent"] for one in receiver.got if one.event["type"].startswith("transaction.")]
    assert len(parents) >= 3
    assert {parent.split("-")[1] for parent in parents} == {TRACE}
    assert len({parent.split("-")[2] for parent in parents}) == len(parents)

"""GET /ops/metrics: what an operator watches."""

from datetime import timedelta
from typing import Any

import pytest
from bson import Decimal128
from prometheus_client.parser import text_string_to_metric_families

from getsmart import clock, config
from getsmart.stores import deliveries, failures
from getsmart.stores import keys as key_store
from tests.edge import Door, MakeClient, Raw, assert_plain_main, assert_refused, check, common
from tests.hooks import happen, post, subscribe
from tests.money import Bench
from tests.receiver import Receiver
from tests.support import Client, Time

PATH = "ops/metrics"
DOOR = Door(PATH, "GET", "ops:read")


def metrics(client: Client) -> dict[tuple[str, str], float]:
    """Every value by name and label, as Prometheus's own parser reads them."""
    answer = client.get(PATH)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_main_is_plain() -> None:
    """The runtime calls it with two arguments."""
    assert_plain_main(PATH)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Methods, keys, scopes and queries."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_a_fresh_system(app: Client) -> None:
    """Nothing is open, the books are balanced, the supply is where genesis left it, no tick has run."""
    seen = metrics(app)
    assert {value for (name, _), value in seen.items() if name == "getsmart_transactions_open"} == {0}
    assert seen["getsmart_supply_gets", "minted"] == seen["getsmart_treasury_gets", "available"] == 20_000_000
    assert seen["getsmart_supply_gets", "free"] == 10**12 - 20_000_000
    assert seen["getsmart_books_sum_gets", ""] == seen["getsmart_external_gets", ""] == 0
    assert seen["getsmart_is_active", "blue"] == 1
    assert ("getsmart_seen_age_seconds", "tick") not in seen


def test_a_mint_on_its_way_and_booked(bench: Bench) -> None:
    """Open and reserved at first, with its age; then booked, and nothing waits; the tick's age is known."""
    bench.mint("10")
    bench.time.advance(5)
    before = metrics(bench.app)
    assert before["getsmart_transactions_open", "submitted"] == 1
    assert before["getsmart_transactions_oldest_age_seconds", "submitted"] >= 5
    assert before["getsmart_supply_gets", "reserved"] == 10
    assert before["getsmart_events_unnumbered", ""] >= 1
    bench.settle()
    after = metrics(bench.app)
    assert after["getsmart_transactions_open", "submitted"] == after["getsmart_supply_gets", "reserved"] == 0
    assert after["getsmart_transactions_recent", "confirmed"] == 1
    assert after["getsmart_transactions_booked_total", ""] == before["getsmart_transactions_booked_total", ""] + 1
    assert after["getsmart_transactions_unsummed", ""] == after["getsmart_events_unnumbered", ""] == 0
    assert after["getsmart_seen_age_seconds", "tick"] < 60


def test_calls_that_the_limit_refused(app: Client, make_client: MakeClient) -> None:
    """They are counted for ever, over all keys."""
    limited = make_client("limited", limits={"per_second": 1, "per_hour": 1})
    assert [limited.get("tokens/info").status for _ in range(4)] == [200, 429, 429, 429]
    assert metrics(app)["getsmart_calls_rate_limited_total", ""] == key_store.count_refused() == 3


def test_without_genesis_it_says_so(app: Client, system: Any) -> None:
    """A database that was never migrated is a fault of ours, not a reply of zeros."""
    system.controls.delete_many({})
    assert_refused(app.get(PATH), 500, "internal")


def test_webhooks(app: Client, system: Raw, receiver: Receiver, time: Time) -> None:
    """The age of what waits, who fails, the share that was taken, what is dead."""
    assert metrics(app)["getsmart_webhook_oldest_undelivered_seconds", "answering"] == 0
    good = subscribe(app, receiver.url)
    receiver.answer = lambda one: 500 if one.sequence == 4 else 200
    happen(system, 4)
    post()
    time.advance(3)
    seen = metrics(app)
    assert 3 <= seen["getsmart_webhook_oldest_undelivered_seconds", "failing"] < 60
    assert seen["getsmart_webhook_oldest_undelivered_seconds", "answering"] == 0
    assert seen["getsmart_webhook_endpoints_failing", ""] == 1
    assert seen["getsmart_webhook_success_share", good["endpoint_id"]] == 0.75
    assert seen["getsmart_webhook_deliveries_dead", ""] == 0
    deliveries.bury(good["endpoint_id"])
    assert metrics(app)["getsmart_webhook_deliveries_dead", ""] == 1


def test_a_version_of_any_letters_is_a_label(
    app: Client, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """What is special in the format is escaped."""
    version = 'a "quoted" \\ v1'
    monkeypatch.setenv("APP_VERSION", version)
    config.forget()
    assert metrics(app)["getsmart_build_info", version] == 1


def test_verdicts_failures_and_what_was_saved(app: Client, system: Raw) -> None:
    """1 while an invariant holds; failures by code; the age of a backup, if there was one."""
    seen = metrics(app)
    assert seen["getsmart_invariant_holds", "I2"] == seen["getsmart_invariant_holds", "I3"] == 1
    assert ("getsmart_backup_age_seconds", "") not in seen
    line = {"at": clock.to_wire(clock.now()), "event": "request", "code": "internal"}
    failures.keep([line, line])
    system.controls.update_one({"_id": "books"}, {"$inc": {"burned": Decimal128("1")}})
    system.controls.insert_one({"_id": "backup", "finished_at": clock.now() - timedelta(seconds=90)})
    seen = metrics(app)
    assert seen["getsmart_invariant_holds", "I2"] == 1
    assert seen["getsmart_invariant_holds", "I3"] == 0
    assert seen["getsmart_failures_recent", "internal"] == 2
    assert 90 <= seen["getsmart_backup_age_seconds", ""] < 120
    assert 0 <= seen["getsmart_database_read_seconds", ""] < 10


def test_nothing_secret_is_told(bench: Bench) -> None:
    """I6: neither key, e-mail address nor anybody's name is a label or a value."""
    bench.mint()
    text = bench.app.get(PATH).text
    assert "@" not in text
    assert (bench.app.token or "").split("_")[-1] not in text

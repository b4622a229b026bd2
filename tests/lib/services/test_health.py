"""The health report; a database that is down is tested with the connection."""

from datetime import timedelta
from typing import Any

import pytest

from getsmart import clock, config
from getsmart.mongo import to_decimal
from getsmart.services import health
from getsmart.stores import controls, transactions
from tests.edge import Raw
from tests.rows import make_row


@pytest.fixture
def well(system: Raw) -> Raw:
    """A system whose tick has just seen everything."""
    at = clock.now()
    controls.observe({"ran_at": at, "provider_ok_at": at, "chain_ok_at": at})
    return system


def verdicts() -> dict[str, str]:
    """Each check's status, and the whole report's as `all`."""
    report = health.report()
    return {**{name: check["status"] for name, check in report["checks"].items()}, "all": report["status"]}


def only(name: str, status: str) -> dict[str, str]:
    """Everything passes but this one check, and the report is as bad as it."""
    names = (
        "database",
        "provider",
        "chain",
        "oldest_queued",
        "oldest_submitted",
        "tick_age",
        "I2",
        "I3",
        "I7",
        "oldest_undelivered",
        "money",
    )
    return {**dict.fromkeys(names, "pass"), name: status, "all": status}


def test_all_is_well(well: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check passes; version and colour are the deployment's."""
    monkeypatch.setenv("COLOUR", "green")
    monkeypatch.setenv("APP_VERSION", "1.2.3")
    config.forget()
    assert verdicts() == only("database", "pass")
    report = health.report()
    assert (report["version"], report["colour"]) == ("1.2.3", "green")


def test_a_node_of_another_chain_fails(well: Raw) -> None:
    """As the tick has seen it; the right one passes."""
    controls.observe({"chain_id": 80002})
    assert verdicts() == only("database", "pass")
    controls.observe({"chain_id": 137})
    assert verdicts() == only("chain", "fail")
    assert health.report()["checks"]["chain"]["observed"] == "chain 137"


def test_money_that_stands_still_warns(well: Raw) -> None:
    """After a restore, and where a person stopped it; who and why is nobody's to read without a key."""
    controls.set_recovering(is_recovering=True)
    assert verdicts() == only("money", "warn")
    controls.stop("ada", "the keys of MetaKeep leaked")
    assert verdicts() == only("money", "warn")
    assert health.report()["checks"]["money"]["observed"] == "stopped"
    assert "leaked" not in str(health.report())
    controls.set_recovering(is_recovering=False)
    assert verdicts() == only("money", "warn")
    controls.go_on()
    assert verdicts() == only("database", "pass")


def test_a_system_whose_tick_has_not_run_warns(system: Raw) -> None:
    """Right after a start nothing is wrong yet, and nothing was seen."""
    warned = {name for name, status in verdicts().items() if status == "warn"}
    assert warned == {"provider", "chain", "tick_age", "all"}


@pytest.mark.parametrize(
    ("fact", "check", "seconds", "status"),
    [
        ("provider_ok_at", "provider", 170, "pass"),
        ("provider_ok_at", "provider", 190, "warn"),
        ("provider_ok_at", "provider", 86_400, "warn"),
        ("chain_ok_at", "chain", 190, "warn"),
        ("ran_at", "tick_age", 170, "pass"),
        ("ran_at", "tick_age", 190, "warn"),
        ("ran_at", "tick_age", 1_810, "fail"),
    ],
)
def test_what_the_tick_saw_gets_old(well: Raw, fact: str, check: str, seconds: int, status: str) -> None:
    """Others' outages only warn; a tick that stands still fails."""
    controls.observe({fact: clock.now() - timedelta(seconds=seconds)})
    assert verdicts() == only(check, status)


@pytest.mark.parametrize(
    ("state", "minutes", "status"),
    [
        ("queued", 0.5, "pass"),
        ("queued", 2, "warn"),
        ("queued", 21, "fail"),
        ("submitted", 4, "pass"),
        ("submitted", 6, "warn"),
        ("submitted", 600, "warn"),
        ("confirmed", 600, "pass"),
    ],
)
def test_what_waits_too_long_is_seen(well: Raw, state: Any, minutes: float, status: str) -> None:
    """By its oldest row; a final one waits for nothing."""
    old = clock.now() - timedelta(minutes=minutes)
    transactions.insert(make_row(status=state, created_at=old))
    transactions.insert(make_row(status=state))
    check = "oldest_submitted" if state == "submitted" else "oldest_queued"
    assert verdicts() == only(check, status)
    observed = health.report()["checks"][check]["observed"]
    assert (observed is None) if state == "confirmed" else (float(observed.removesuffix(" s")) >= minutes * 60 - 1)


@pytest.mark.parametrize(
    ("name", "change", "check"),
    [
        ("supply", {"available": 1}, "I2"),  # more is free than was never minted
        ("books", {"issuance": -1, "treasury": 1}, "I2"),  # minted without having been set aside
        ("books", {"wallets": 1}, "I3"),
        ("books", {"external": -1}, "I3"),
    ],
)
def test_one_base_unit_too_many_fails(well: Raw, name: str, change: dict[str, int], check: str) -> None:
    """I2 and I3 are exact."""
    well.controls.update_one({"_id": name}, {"$inc": {key: to_decimal(value) for key, value in change.items()}})
    assert verdicts() == only(check, "fail")


@pytest.mark.parametrize(("name", "checks"), [("supply", {"I2"}), ("treasury", {"I2"}), ("books", {"I2", "I3"})])
def test_a_database_without_genesis_fails(well: Raw, name: str, checks: set[str]) -> None:
    """It says what is missing."""
    well.controls.delete_one({"_id": name})
    report = health.report()
    failed = {key: check["message"] for key, check in report["checks"].items() if check["status"] == "fail"}
    assert failed.keys() == checks
    assert all("migrations are missing" in message for message in failed.values())

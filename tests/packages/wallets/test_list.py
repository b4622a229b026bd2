"""GET /wallets/list at its door."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from getsmart.clock import to_wire
from getsmart.ids import new_id
from tests.edge import BAD_LABELS, Case, Door, MakeClient, Raw, assert_headers, assert_plain_main, check, common
from tests.pages import bad_pages, bad_times, items, walk
from tests.support import Client, Time

DOOR = Door("wallets/list", "GET", "wallets:read")


def keep(raw: Raw, number: int, *links: tuple[str, str | None], **changes: Any) -> str:
    """A wallet with these links (client, label); returns its id."""
    at = datetime.now(UTC)
    linked = [{"client_id": name, "label": label, "metadata": {}, "linked_at": at} for name, label in links]
    address = f"0x{number:040x}"
    row = {"_id": new_id("wlt"), "email": f"user{number}@example.com", "address": address, "address_key": address}
    raw.wallets.insert_one({**row, "created_at": at, "links": linked, **changes})
    return str(row["_id"])


def ids(client: Client, query: str = "", limit: int = 2) -> list[str]:
    """The wallets that a client is shown."""
    return [item["wallet_id"] for item in items(client, DOOR.path, query, limit)]


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_filters_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """Limits, cursors, times, labels and beginnings of addresses, each by name."""
    labels = [label for label in BAD_LABELS if isinstance(label, str)]
    prefixes = ("", " ", "a b", "\u00e4", "\u212a", "a\x00", "a" * 255, "a,b", "<")
    bad = [("label", label) for label in labels] + [("email_prefix", prefix) for prefix in prefixes]
    cases = [
        Case(
            f"{name} {value[:20]!r}",
            DOOR.event(app.token, query=f"{name}={quote(value)}"),
            400,
            "invalid_request",
            name,
        )
        for name, value in bad
    ]
    cases += [*bad_pages(DOOR, app.token), *bad_times(DOOR, app.token, ("created_after", "created_before"))]
    check(subtests, system, DOOR, cases)


def test_linked_wallets_are_listed_newest_first(system: Raw, app: Client, make_client: MakeClient, time: Time) -> None:
    """Only linked ones, each as wallets/get shows it; an admin sees all, with a label of its own only."""
    made = []
    for number in range(5):
        time.advance(1)
        made.append(keep(system, number, ("app", f"label {number}"), ("other", "theirs")))
    keep(system, 5, ("other", "theirs"))
    assert ids(app) == made[::-1]
    assert len(ids(make_client("other"))) == 6
    assert ids(make_client("stranger")) == []
    answer = app.get(DOOR.path)
    assert_headers(answer)
    for item in answer.data["items"]:
        assert item == app.get("wallets/get", f"wallet_id={item['wallet_id']}").data
    boss = make_client("boss", scopes=["admin"])
    assert len(ids(boss)) == 6
    assert {item["label"] for item in items(boss, DOOR.path)} == {None}


def test_filters_narrow(system: Raw, app: Client, make_client: MakeClient, time: Time) -> None:
    """By the beginning of the address in any case, by the client's own label, by both; not by others' labels."""
    one = keep(system, 1, ("other", "secret"), ("app", "mine"))
    ten = keep(system, 10, ("app", "mine"))
    two = keep(system, 2, ("app", "secret"))
    assert sorted(ids(app, "email_prefix=USER1")) == sorted([one, ten])
    assert ids(app, "email_prefix=user1%40") == [one]
    assert ids(app, "email_prefix=user1%40example.com") == [one]
    assert ids(app, "email_prefix=.") == []
    assert sorted(ids(app, "label=mine", limit=1)) == sorted([one, ten])
    assert ids(app, "label=secret") == [two]
    assert ids(app, "label=mine&email_prefix=user10") == [ten]
    assert ids(make_client("other"), "email_prefix=user2") == []
    assert ids(make_client("boss", scopes=["admin"]), "label=secret") == []


def test_a_span_of_time_excludes_its_ends(system: Raw, app: Client, time: Time) -> None:
    """After and before a moment are not at it; spans of the far past and future are empty or everything."""
    base = datetime.now(UTC).replace(microsecond=0)
    made = [
        keep(system, number, ("app", None), created_at=base + timedelta(milliseconds=number)) for number in range(3)
    ]
    at = [to_wire(base + timedelta(milliseconds=number)) for number in range(3)]
    assert set(ids(app, f"created_after={at[0]}")) == set(made[1:])
    assert set(ids(app, f"created_before={at[2]}")) == set(made[:2])
    assert ids(app, f"created_after={at[0]}&created_before={at[2]}") == [made[1]]
    finer = at[1].replace("Z", "5Z")
    assert set(ids(app, f"created_before={finer}")) == set(made[:2])
    assert ids(app, f"created_after={finer}") == [made[2]]
    assert len(ids(app, "created_after=1970-01-01T00:00:00Z&created_before=9999-12-31T23:59:59.999999Z")) == 3
    assert ids(app, "created_before=0001-01-01T00:00:00Z") == []
    assert ids(app, "created_after=9999-12-31T23:59:59.999999Z") == []


def test_a_list_is_stable_while_wallets_are_added(system: Raw, app: Client, time: Time) -> None:
    """Whoever turns the pages sees each wallet that was there once, and none that came later."""
    before = []
    for number in range(6):
        time.advance(0.01)
        before.append(keep(system, number, ("app", None)))
    seen = []
    for number, page in enumerate(walk(app, DOOR.path)):
        seen += [item["wallet_id"] for item in page["items"]]
        time.advance(0.01)
        keep(system, 100 + number, ("app", None))
    assert seen == before[::-1]


def test_a_page_of_large_wallets_can_be_carried(system: Raw, app: Client) -> None:
    """200 wallets with all the metadata there may be come in several replies below a megabyte."""
    metadata = {f"name{number}": "\U0001f600" * 500 for number in range(50)}
    for number in range(8):
        wallet_id = keep(system, number, ("app", None))
        system.wallets.update_one({"_id": wallet_id}, {"$set": {"links.0.metadata": metadata}})
    answer = app.get(DOOR.path, "limit=200")
    assert len(answer.text.encode()) < 768 * 1024
    assert answer.data["next_cursor"] is not None
    assert len(set(ids(app, limit=200))) == 8

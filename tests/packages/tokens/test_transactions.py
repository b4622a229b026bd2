"""GET /tokens/transactions at its door."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from getsmart.clock import to_wire
from getsmart.models import TransactionRow
from getsmart.mongo import to_decimal
from tests.edge import (
    BAD_BADGE_TEXTS,
    BAD_WALLET_IDS,
    UNKNOWN_WALLET,
    Case,
    Door,
    MakeClient,
    Raw,
    assert_headers,
    assert_plain_main,
    check,
    common,
)
from tests.money import Bench
from tests.pages import bad_pages, bad_times, items, walk
from tests.rows import kept
from tests.support import Client, Time, unique

DOOR = Door("tokens/transactions", "GET", "tokens:read")
BATCH = "bat_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def ids(client: Client, query: str = "", limit: int = 2) -> list[str]:
    """The transactions that a client is shown."""
    return [item["transaction_id"] for item in items(client, DOOR.path, query, limit)]


def make(time: Time, **changes: Any) -> TransactionRow:
    """A row, later than the one before."""
    time.advance(0.01)
    return kept(**changes)


def party(wallet_id: str) -> dict[str, str]:
    """A wallet as a side of a transaction."""
    return {"account": wallet_id, "wallet_id": wallet_id, "address": "0x" + "a" * 40}


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_filters_that_are_wrong(subtests: pytest.Subtests, system: Raw, app: Client) -> None:
    """Each by name; an unknown wallet is 404."""
    badges = [text for text in BAD_BADGE_TEXTS if isinstance(text, str)]
    bad = [
        *(("wallet_id", value) for value in BAD_WALLET_IDS),
        *(("badge_id", value) for value in badges),
        *(("status", value) for value in ("", "done", "CONFIRMED", "confirmed,failed")),
        *(("kind", value) for value in ("", "gift", "Mint")),
        *(("batch_id", value) for value in ("", "bat_1", UNKNOWN_WALLET)),
        *(("format", value) for value in ("", "xml", "CSV")),
    ]
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
    cases.append(Case("unknown", DOOR.event(app.token, query=f"wallet_id={UNKNOWN_WALLET}"), 404, "not_found"))
    check(subtests, system, DOOR, cases)


def test_a_clients_own_are_listed_newest_first(app: Client, make_client: MakeClient, time: Time) -> None:
    """Each as tokens/transaction shows it; an admin sees everybody's."""
    mine = [make(time)["_id"] for _ in range(5)]
    theirs = [make(time, client_id="other")["_id"] for _ in range(2)]
    assert ids(app) == mine[::-1]
    assert ids(make_client("other")) == theirs[::-1]
    assert ids(make_client("boss", scopes=["admin"])) == theirs[::-1] + mine[::-1]
    answer = app.get(DOOR.path)
    assert_headers(answer)
    for item in answer.data["items"]:
        assert item == app.get("tokens/transaction", f"transaction_id={item['transaction_id']}").data


def test_filters_narrow(app: Client, make_client: MakeClient, time: Time) -> None:
    """Each alone, and all together."""
    badge = {"badge_id": "b 1", "claimant": "c"}
    first = make(time, status="failed", kind="burn")["_id"]
    second = make(time, batch_id=BATCH)["_id"]
    third = make(time, badge_claim=badge, kind="mint", status="failed")["_id"]
    make(time, client_id="other", status="failed", kind="burn", badge_claim=badge)
    assert ids(app, "status=failed", limit=1) == [third, first]
    assert ids(app, "kind=burn") == [first]
    assert ids(app, "kind=mint", limit=1) == [third, second]
    assert ids(app, f"batch_id={BATCH}") == [second]
    assert ids(app, "badge_id=b%201") == [third]
    assert ids(app, "badge_id=b%201&status=failed&kind=mint") == [third]
    assert ids(app, "badge_id=b%201&status=queued") == []
    assert ids(make_client("other"), f"batch_id={BATCH}") == []


def test_a_wallets_own_both_ways(app: Client, wallet: dict[str, Any], make_client: MakeClient, time: Time) -> None:
    """To it and from it, in order across pages; of another client's nothing, though the wallet is shared."""
    wallet_id = wallet["wallet_id"]
    other = make_client("other")
    other.post("wallets/create", {"owner": wallet["owner"]})
    rows = []
    for number in range(6):
        side = (
            {"target": party(wallet_id)}
            if number % 2
            else {"origin": party(wallet_id), "target": party("wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV")}
        )
        rows.append(make(time, **side, status="failed" if number < 2 else "queued")["_id"])
    both = make(time, origin=party(wallet_id), target=party(wallet_id))["_id"]
    theirs = make(time, client_id="other", target=party(wallet_id))["_id"]
    make(time, target={"account": wallet_id, "address": "0x" + "a" * 40})  # by address: no wallet of anybody's is named
    query = f"wallet_id={wallet_id}"
    assert ids(app, query) == [both, *rows[::-1]]
    assert ids(app, f"{query}&status=failed", limit=1) == [rows[1], rows[0]]
    assert ids(other, query) == [theirs]
    assert ids(make_client("boss", scopes=["admin"]), query) == [theirs, both, *rows[::-1]]
    assert make_client("stranger").get(DOOR.path, query).code == "not_found"


def test_a_span_of_time_excludes_its_ends(app: Client, time: Time) -> None:
    """Also together with a cursor."""
    base = datetime.now(UTC).replace(microsecond=0)
    rows = [make(time, created_at=base + timedelta(milliseconds=number))["_id"] for number in range(5)]
    at = [to_wire(base + timedelta(milliseconds=number)) for number in range(5)]
    assert ids(app, f"created_after={at[0]}&created_before={at[4]}", limit=1) == rows[3:0:-1]


def test_a_list_is_stable_while_rows_are_added(app: Client, time: Time) -> None:
    """Whoever turns the pages sees each row that was there once, and none that came later."""
    before = [make(time)["_id"] for _ in range(5)]
    seen = []
    for page in walk(app, DOOR.path):
        seen += [item["transaction_id"] for item in page["items"]]
        make(time)
    assert seen == before[::-1]


def test_the_table_has_the_same_fields(app: Client, time: Time) -> None:
    """Headers are field names, a formula is a text, amounts stay numbers, the next cursor is a header."""
    make(time)
    make(
        time,
        amount=to_decimal(5 * 10**17),
        reason='=HYPERLINK("x")',
        badge_claim={"badge_id": "-b", "claimant": "@c"},
        failure={"code": "x", "message": "+y"},
    )
    answer = app.get(DOOR.path, "format=csv&limit=1")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    (line,) = csv.DictReader(io.StringIO(answer.text, newline=""))
    (item,) = app.get(DOOR.path, "limit=1").data["items"]
    assert line["transaction_id"] == item["transaction_id"]
    assert (line["amount"], line["reason"]) == ("0.5", '\'=HYPERLINK("x")')
    assert (line["badge_claim.badge_id"], line["badge_claim.claimant"], line["failure.message"]) == (
        "'-b",
        "'@c",
        "'+y",
    )
    assert (line["from.account"], line["to.wallet_id"], line["tx_hash"]) == ("issuance", item["to"]["wallet_id"], "")
    assert {name.split(".")[0] for name in line} == item.keys() - {"timeline"}
    second = app.get(DOOR.path, f"format=csv&cursor={answer.headers['X-Next-Cursor']}")
    assert len(second.text.splitlines()) == 2
    assert "X-Next-Cursor" not in second.headers


def test_a_real_mint_is_listed(bench: Bench) -> None:
    """From claim to confirmation it stands in the list as it stands in the books."""
    minted = bench.mint("3", key=unique("key"))
    query = f"wallet_id={bench.wallet['wallet_id']}"
    assert items(bench.app, DOOR.path, query) == [minted.data]
    bench.settle()
    (item,) = items(bench.app, DOOR.path, f"{query}&status=confirmed&kind=mint")
    assert (item["status"], item["amount"]) == ("confirmed", "3")

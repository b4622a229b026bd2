"""An airdrop is accepted whole or not at all, paid row by row, and its receipt verifies."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymerkle import InvalidProof

from getsmart import clock
from getsmart.machine import airdrop
from getsmart.services import tick
from getsmart.stores import batches, ceilings, reserves
from tests.airdrops import Rows, drop, paid_once, read, work_off
from tests.airdrops import rows as rows  # noqa: PLC0414 - the fixture
from tests.airdrops import small as small  # noqa: PLC0414 - the fixture
from tests.crashes import Crashes
from tests.money import MINT_PATH, Bench, units
from tests.support import Client, unique


def test_from_call_to_receipt(bench: Bench, rows: Rows, small: None) -> None:
    """Accepted in one call, reserved as a sum, worked off by the tick, told by one event."""
    before = bench.available("supply")
    accepted = drop(bench, rows)
    assert (accepted.status, accepted.data["status"], accepted.data["counts"]["queued"]) == (202, "queued", 5)
    assert bench.available("supply") == before - units("15")
    bench.audit()
    assert read(bench, accepted)["counts"]["queued"] == 5
    tick.run()
    bench.audit()
    running = read(bench, accepted, "&rows=true")
    assert running["status"] == "running"
    assert [row["transaction_id"] is None for row in running["rows"]["items"]] == [False, False, True, True, True]
    work_off(bench)
    done = read(bench, accepted)
    assert (done["status"], done["counts"]["confirmed"], done["total"]) == ("completed", 5, 5)
    paid_once(bench, rows)
    events = [event for event in bench.raw.events.find() if event["type"] == "batch.completed"]
    assert [json.loads(event["data"]) for event in events] == [done]


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, by hand: the left part is the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return _node(_root(leaves[:left]), _root(leaves[left:]))


def _documented(repository: Path) -> Callable[[Rows, str, int], None]:
    """`verify` as docs/airdrop.md shows it."""
    names: dict[str, Any] = {}
    (block,) = re.findall(r"```python\n(.*?)```", (repository / "docs/airdrop.md").read_text(), re.DOTALL)
    exec(block, names)  # noqa: S102 - the document is ours
    verify: Callable[[Rows, str, int], None] = names["verify"]
    return verify


def test_a_row_can_be_verified(bench: Bench, rows: Rows, small: None, repository: Path) -> None:
    """As docs/airdrop.md tells it: the listed rows are the leaves; each is proven, a changed one is not."""
    accepted = drop(bench, rows)
    work_off(bench)
    items, cursor = [], ""
    while True:
        page = read(bench, accepted, f"&rows=true&limit=2{cursor}")["rows"]
        items += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [item["row"] for item in items] == list(range(5))
    root = read(bench, accepted)["merkle_root"]
    leaves = [json.dumps(item, separators=(",", ":"), ensure_ascii=False).encode() for item in items]
    assert _root(leaves).hex() == root
    verify = _documented(repository)
    for number in range(5):
        verify(items, root, number)
    with pytest.raises(InvalidProof):
        verify([{**item, "amount": "5"} for item in items], root, 3)


def test_the_same_rows_give_the_same_batch(bench: Bench, rows: Rows) -> None:
    """By key or by reference, byte for byte; other rows under the reference or the key are refused."""
    key, other = unique("key"), unique("key")
    first = drop(bench, rows, key=key)
    for again in (drop(bench, rows, key=key), drop(bench, rows, key=other)):
        assert (again.status, again.text, again.headers["Idempotent-Replayed"]) == (202, first.text, "true")
    fewer = rows[:4]
    assert drop(bench, fewer).code == "invalid_state"
    assert drop(bench, fewer, key=key).code == "idempotency_mismatch"
    assert drop(bench, rows, reference="s", key=other).code == "idempotency_mismatch"
    assert bench.raw.batches.count_documents({}) == 1
    second = drop(bench, rows, reference="s", key=unique("key"))
    assert second.data["batch_id"] != first.data["batch_id"]
    assert drop(bench, rows, key=second.headers["X-Request-Id"]).text == first.text
    bench.audit()


def test_a_key_of_another_batch_is_no_key_for_this_one(
    bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the unique index has to say so."""
    key = unique("key")
    drop(bench, rows, key=key)
    drop(bench, rows, reference="s")
    monkeypatch.setattr(batches, "find_by_key", lambda *_: None)
    assert drop(bench, rows, reference="s", key=key).code == "idempotency_mismatch"


def test_ndjson_is_the_same_request(bench: Bench, rows: Rows) -> None:
    """A row a line and the reference in the query: the same digest, the same batch."""
    key = unique("key")
    body = "\n".join(map(json.dumps, rows)) + "\n"
    by_line = bench.app.post("tokens/airdrop", body, key=key, query="reference=r", content_type="application/x-ndjson")
    assert by_line.status == 202, by_line.text
    assert drop(bench, rows, key=key).text == by_line.text
    broken = bench.app.post(
        "tokens/airdrop", body + '{"a":', key=unique("k"), query="reference=s", content_type="application/x-ndjson"
    )
    assert (broken.status, broken.fields) == (400, ["rows[5]"])


def test_every_bad_row_is_told_and_nothing_is_changed(bench: Bench, make_client: Callable[..., Client]) -> None:
    """37 of 300, of every kind, among them wallets of others and unknown ones: exactly those."""
    stranger = make_client("stranger").post("wallets/create", {"owner": {"email": f"{unique('other')}@example.com"}})
    good = {"wallet_id": bench.wallet["wallet_id"], "amount": "1"}
    wrongs: list[Any] = [
        {**good, "amount": 1},
        {**good, "amount": "0"},
        {"amount": "1"},
        {**good, "more": 1},
        None,
        {**good, "wallet_id": stranger.data["wallet_id"]},
        {**good, "wallet_id": "wlt_01ARZ3NDEKTSV4RRFFQ69G5FAV"},
    ]
    rows: list[Any] = [dict(good) for _ in range(300)]
    bad = list(range(5, 300, 8))[:37]
    for place, number in enumerate(bad):
        rows[number] = wrongs[place % len(wrongs)]
    key = unique("key")
    refused = drop(bench, rows, key=key)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert [int(field.split("[")[1].split("]")[0]) for field in refused.fields] == bad
    assert {field.partition(".")[2] for field in refused.fields} == {"amount", "wallet_id", "more", ""}
    assert bench.raw.batches.find_one() is None
    assert bench.raw.batch_rows.find_one() is None
    assert drop(bench, [good], key=key).status == 202
    bench.audit()


def test_too_many_problems_are_counted(bench: Bench) -> None:
    """A reply stays within what the platform carries: the last entry says how many more there are."""
    refused = drop(bench, [{"wallet_id": "x", "amount": 1} for _ in range(6_000)])
    assert refused.status == 400
    assert len(json.dumps(refused.text)) < 1_000_000
    last = refused.json["error"]["details"][-1]
    told = len(refused.fields) - 1
    assert last == {"field": "rows", "problem": f"{12_000 - told} more problems"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reference": "r", "rows": []}, "rows"),
        ({"reference": "r", "rows": {}}, "rows"),
        ({"reference": "", "rows": [1]}, "reference"),
        ({"rows": [1]}, "reference"),
        ({"reference": "r", "rows": [0] * 10_001}, "rows"),
    ],
)
def test_the_frame_is_checked(bench: Bench, body: dict[str, Any], field: str) -> None:
    """A reference, and 1 to 10,000 rows."""
    refused = bench.app.post("tokens/airdrop", body, key=unique("key"))
    assert (refused.status, refused.fields) == (400, [field])


def test_more_than_the_supply(bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is written; and where it runs out meanwhile, everything is taken back."""
    bench.limit("supply", "14")
    key = unique("key")
    assert drop(bench, rows, key=key).code == "supply_exhausted"
    monkeypatch.setattr(reserves, "has", lambda *_: True)
    by = limited(bench, mint_per_day=str(units("15")))
    assert drop(bench, rows, key=key, by=by).code == "supply_exhausted"
    assert bench.raw.batches.find_one() is None
    assert bench.raw.batch_rows.find_one() is None
    bench.audit()
    assert drop(bench, rows[:4], key=key, by=by).status == 202
    bench.audit()


def limited(bench: Bench, **limits: str) -> Client:
    """A key of the same application with daily ceilings."""
    from ops import keys

    made = keys.create(client_id="app", scopes=keys.SCOPES[:-1], limits={**keys.NO_LIMITS, **limits})  # type: ignore[typeddict-item]
    return Client(made.token)


def test_a_ceiling_counts_the_sum(bench: Bench, rows: Rows) -> None:
    """15 fit under 15 and not under 14; a refused one counts nothing."""
    assert drop(bench, rows, by=limited(bench, mint_per_day=str(units("14")))).code == "limit_exceeded"
    by = limited(bench, mint_per_day=str(units("15")))
    assert drop(bench, rows, by=by).status == 202
    assert bench.mint("1", client=by).code == "limit_exceeded"


def test_a_refused_row_fails_alone(bench: Bench, rows: Rows) -> None:
    """One row reverts on chain: it failed, the others are paid, and the receipt says so."""
    bench.provider.fault(MINT_PATH, "failed")
    accepted = drop(bench, rows)
    work_off(bench)
    done = read(bench, accepted, "&rows=true")
    assert (done["status"], done["counts"]["failed"], done["counts"]["confirmed"]) == ("completed", 1, 4)
    assert sorted(item["status"] for item in done["rows"]["items"]) == ["confirmed"] * 4 + ["failed"]
    bench.audit()


def test_an_accepted_row_keeps_its_wallet(bench: Bench, rows: Rows) -> None:
    """A wallet that is to be paid cannot be erased; erased all the same, its row fails and gives back."""
    drop(bench, rows)
    refused = bench.app.post("wallets/erase", {"wallet_id": bench.wallet["wallet_id"]})
    assert refused.code == "invalid_state"
    bench.raw.wallets.update_one({"_id": bench.wallet["wallet_id"]}, {"$unset": {"email": ""}})
    work_off(bench)
    statuses = {row["status"] for row in bench.raw.transactions.find({"target.account": bench.wallet["wallet_id"]})}
    assert statuses == {"failed"}
    bench.audit()


def test_batches_are_their_clients(bench: Bench, rows: Rows, make_client: Callable[..., Client]) -> None:
    """Another client: 404, and its own reference of the same name is its own."""
    accepted = drop(bench, rows)
    query = f"batch_id={accepted.data['batch_id']}"
    other = make_client("other")
    assert other.get("tokens/batch", query).code == "not_found"
    assert make_client("boss", scopes=["admin"]).get("tokens/batch", query).data == accepted.data
    own = other.post("wallets/create", {"owner": {"email": f"{unique('own')}@example.com"}}).data
    assert drop(bench, [{"wallet_id": own["wallet_id"], "amount": "1"}], by=other).status == 202
    assert bench.app.get("tokens/batch", f"{query}&rows=true&cursor=eA").fields == ["cursor"]


def test_a_cursor_of_a_wrong_place(bench: Bench, rows: Rows) -> None:
    """A place that this list never gives is refused, not guessed at."""
    from getsmart.errors import InvalidRequest
    from getsmart.services.batches import _start

    assert (_start(None), _start("41")) == (0, 42)
    for place in ("x", "1" * 16):
        with pytest.raises(InvalidRequest):
            _start(place)


def test_as_many_airdrops_wait_as_a_client_may_have(
    bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch, make_client: Callable[..., Client]
) -> None:
    """One more is refused and nothing of it is kept; another client's is not, nor one when a first is under way."""
    monkeypatch.setattr(airdrop, "MOST_WAITING", 2)
    for reference in ("a", "b"):
        assert drop(bench, rows, reference=reference).status == 202
    before = bench.available("supply")
    key = unique("c")
    refused = drop(bench, rows, reference="c", key=key)
    assert (refused.status, refused.code) == (409, "limit_exceeded")
    assert (bench.available("supply"), bench.raw.batches.count_documents({})) == (before, 2)
    assert drop(bench, rows, reference="a").status == 202
    tick.run()
    assert drop(bench, rows, reference="c", key=key).status == 202


def test_what_a_dead_call_left_is_no_airdrop_that_waits(
    bench: Bench, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid by nobody, so it counts only for as long as its call may still be at it."""
    monkeypatch.setattr(airdrop, "MOST_WAITING", 1)
    with monkeypatch.context() as patch:
        Crashes(patch).die("after getsmart.stores.batches.insert", lambda: drop(bench, rows, reference="a"))
    assert drop(bench, rows, reference="b").code == "limit_exceeded"
    bench.time.advance(16)
    assert drop(bench, rows, reference="b").status == 202


def test_ceilings_forget_the_day_before(bench: Bench) -> None:
    """A new day begins at nothing, and what is given back later does not count for it."""
    assert ceilings.take("key", "mint", 5, 5) is not None
    day = ceilings.take("key", "treasury", 5, 5)
    assert (ceilings.take("key", "mint", 1, 5), day) == (None, int(clock.now().timestamp() // 86_400))
    bench.raw.ceilings.update_one({"_id": "key"}, {"$inc": {"day": -1}})
    assert ceilings.take("key", "mint", 5, 5) == day
    assert day is not None
    ceilings.give_back("key", "mint", 5, day - 1)
    assert ceilings.take("key", "mint", 1, 5) is None
    ceilings.give_back("key", "mint", 5, day)
    assert ceilings.take("key", "mint", 5, 5) == day


def test_a_wallet_waits_only_for_rows_of_its_own(bench: Bench, rows: Rows) -> None:
    """A wallet that no open batch pays may be erased."""
    drop(bench, rows)
    assert batches.has_waiting(bench.wallet["wallet_id"])
    assert not batches.has_waiting(bench.new_wallet()["wallet_id"])

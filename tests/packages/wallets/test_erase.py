"""POST /wallets/erase at its door: a person disappears, the books stay."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from pymongo.database import Database

from getsmart.stores import wallets
from tests.edge import (
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
    dump,
    wrong_values,
)
from tests.money import BEYOND_LEASES, Bench
from tests.support import Client, unique

DOOR = Door("wallets/erase", "POST", "wallets:write", {"wallet_id": UNKNOWN_WALLET})


def erase(client: Client, wallet: dict[str, Any]) -> Any:
    """Ask for it."""
    return client.post(DOOR.path, {"wallet_id": wallet["wallet_id"]})


def everything(raw: Database[Any]) -> str:
    """The whole database as text, each collection and field of it."""
    return json.dumps({name: list(raw[name].find()) for name in raw.list_collection_names()}, default=str)


def test_main_is_what_the_runtime_calls() -> None:
    """`main` takes exactly an event and a context."""
    assert_plain_main(DOOR.path)


def test_what_every_door_refuses(subtests: pytest.Subtests, system: Raw, make_client: MakeClient) -> None:
    """Wrong methods, keys, bodies and queries are refused by code and change nothing."""
    check(subtests, system, DOOR, common(DOOR, make_client))


def test_wallets_that_cannot_be_erased(
    subtests: pytest.Subtests, system: Raw, app: Client, wallet: dict[str, Any], make_client: MakeClient
) -> None:
    """No id, an unknown one, a foreign one."""
    foreign = DOOR.event(make_client("other").token, body=json.dumps({"wallet_id": wallet["wallet_id"]}))
    cases = [
        *wrong_values(DOOR, app.token, "wallet_id", [*BAD_WALLET_IDS, 7, None, [], {}]),
        Case("unknown", DOOR.event(app.token), 404, "not_found"),
        Case("foreign", foreign, 404, "not_found"),
    ]
    check(subtests, system, DOOR, cases)


def test_a_person_disappears_and_the_wallet_stays(app: Client, wallet: dict[str, Any]) -> None:
    """Not to be found by e-mail any more; by id and address it names nobody; again is the same."""
    answer = erase(app, wallet)
    assert_headers(answer)
    assert answer.status == 200
    tombstone = {**wallet, "owner": {"email": None}, "label": None, "metadata": {}}
    assert answer.data == {**tombstone, "erased_at": answer.data["erased_at"]}
    assert answer.data["erased_at"].endswith("Z")
    for query in (f"wallet_id={wallet['wallet_id']}", f"address={wallet['address']}"):
        assert app.get("wallets/get", query).data == answer.data
    email = wallet["owner"]["email"]
    assert app.get("wallets/get", f"email={quote(email)}").code == "not_found"
    assert app.get("wallets/list", f"email_prefix={quote(email)}").data["items"] == []
    assert app.get("wallets/list").data["items"] == [answer.data]
    assert erase(app, wallet).data == answer.data


def test_it_is_noted_who_erased(system: Raw, app: Client, wallet: dict[str, Any]) -> None:
    """Which key, from where, in which call; once."""
    answer = app.post(DOOR.path, {"wallet_id": wallet["wallet_id"]}, x_forwarded_for="203.0.113.9")
    erase(app, wallet)
    (row,) = system.wallets.find()
    line = row["erasure"]
    assert (line["what"], line["source"]) == ("erase", "203.0.113.9")
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert line["key_id"].startswith("key_")


def test_while_something_is_under_way_nothing_is_erased(bench: Bench, subtests: pytest.Subtests) -> None:
    """On the way in or out, by whichever client: 409, and nothing has changed; then it can be done."""
    body = json.dumps({"wallet_id": bench.wallet["wallet_id"]})
    refused = Case("open", DOOR.event(bench.app.token, body=body), 409, "invalid_state")
    bench.mint("10")
    check(subtests, bench.raw, DOOR, [refused])
    bench.settle()
    bench.burn("3")
    check(subtests, bench.raw, DOOR, [refused])
    bench.settle()
    assert erase(bench.app, bench.wallet).status == 200
    bench.audit()


def test_an_erased_wallet_keeps_its_books_and_takes_no_orders(bench: Bench) -> None:
    """Balance, statement, history and export stay readable; whoever would be named to MetaKeep is gone: 409."""
    bench.funded("10")
    query = f"wallet_id={bench.wallet['wallet_id']}"
    reads = {
        "wallets/balance": query,
        "wallets/statement": query,
        "tokens/transactions": query,
    }
    before = {path: bench.app.get(path, asked).data for path, asked in reads.items()}
    erased = erase(bench.app, bench.wallet).data
    for path, asked in reads.items():
        seen = bench.app.get(path, asked).data
        assert {**seen, "as_of": None} == {**before[path], "as_of": None}
    export = bench.app.get("wallets/export", query).data
    assert (export["wallet"], export["balance"]["posted"]) == (erased, "10")
    data = dump(bench.raw)
    for answer in (bench.mint(), bench.transfer(), bench.burn()):
        assert (answer.status, answer.code) == (409, "invalid_state")
    assert dump(bench.raw) == data
    bench.audit()


def test_a_person_who_comes_back_gets_the_same_wallet(bench: Bench, make_client: MakeClient) -> None:
    """MetaKeep gives one address to one person: so it is theirs again, with its balance, for any client."""
    bench.funded("10")
    erase(bench.app, bench.wallet)
    other = make_client("other")
    again = other.post("wallets/create", {"owner": bench.wallet["owner"], "label": "back"})
    assert (again.status, again.data["wallet_id"]) == (200, bench.wallet["wallet_id"])
    assert (again.data["owner"], again.data["erased_at"]) == (bench.wallet["owner"], None)
    assert bench.app.get("wallets/get", f"wallet_id={bench.wallet['wallet_id']}").data["label"] is None
    assert bench.balance()["posted"] == "10"
    assert bench.mint().status == 202
    bench.settle()
    assert erase(other, bench.wallet).status == 200
    assert bench.app.post("wallets/create", {"owner": bench.wallet["owner"]}).data["label"] is None


def test_who_is_erased_while_being_written_about_stays_erased(
    system: Raw, app: Client, wallet: dict[str, Any], make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that had found the wallet just before leaves neither a label nor a link; the next one may."""
    other, body = make_client("other"), {"owner": wallet["owner"], "label": "late"}
    (before,) = system.wallets.find()
    erase(app, wallet)
    with monkeypatch.context() as patched:
        patched.setattr(wallets, "find_by_email", lambda *_: before)
        assert app.post("wallets/create", body).data["owner"] == {"email": None}
        assert other.post("wallets/create", body).code == "invalid_state"
    (row,) = system.wallets.find()
    assert [(link["client_id"], link["label"]) for link in row["links"]] == [("app", None)]
    assert other.post("wallets/create", body).data["label"] == "late"


def test_a_row_of_an_airdrop_that_waits_is_under_way(bench: Bench, subtests: pytest.Subtests) -> None:
    """From the moment it was accepted until it is final."""
    body = {"reference": unique("airdrop"), "rows": [{"wallet_id": bench.wallet["wallet_id"], "amount": "1"}]}
    assert bench.app.post("tokens/airdrop", body, key=unique("airdrop")).status == 202
    asked = json.dumps({"wallet_id": bench.wallet["wallet_id"]})
    event = DOOR.event(bench.app.token, body=asked)
    check(subtests, bench.raw, DOOR, [Case("waiting", event, 409, "invalid_state")])
    for _ in range(3):
        bench.settle()
    assert erase(bench.app, bench.wallet).status == 200


def test_an_erased_address_is_nowhere(
    bench: Bench, make_client: MakeClient, capsys: pytest.CaptureFixture[str], system: Raw
) -> None:
    """In no field of any collection and in no line of any log, whatever the calls before were; and no label of it."""
    email = f"{unique('vanishing')}@example.com"
    secret = unique("nickname")
    clients = [bench.app, make_client("other")]
    owner = {"owner": {"email": email}, "label": f"{secret} {email}", "metadata": {"who": email, "nick": secret}}
    for client in clients:
        wallet = client.post("wallets/create", owner).data
    wallet_id, address = wallet["wallet_id"], wallet["address"]
    for query in (f"email={quote(email)}", f"email={quote(email)}&surprise=1", f"{quote(email)}=1"):
        bench.app.get("wallets/get", query)
    bench.app.get("wallets/list", f"email_prefix={quote(email)}&label={quote(owner['label'])}")  # type: ignore[arg-type]
    bench.app.post("wallets/create", {**owner, email: 1})
    bench.app.post("wallets/create", json.dumps(owner)[:-1])
    bench.provider.fault("/v2/app/coin/mint", "500", times=1)
    for path, body in (
        ("tokens/mint", {"wallet_id": wallet_id, "amount": "10"}),
        ("tokens/transfer", {"to_wallet_id": wallet_id, "amount": "10"}),
    ):
        assert bench.app.post(path, body, key=unique("k")).status == 202
    assert email in everything(system)
    for _ in range(4):
        bench.settle()
    burned = bench.app.post("tokens/burn", {"wallet_id": wallet_id, "amount": "1", "reason": "x"}, key=unique("k"))
    assert burned.status == 202
    bench.settle()
    answer = bench.app.post(DOOR.path, {"wallet_id": wallet_id})
    assert answer.status == 200, answer.text
    bench.time.advance(BEYOND_LEASES)
    bench.settle()
    kept = everything(system)
    assert address in kept
    assert system.events.count_documents({"type": "wallet.created"}) >= 2
    for word in (email, email.partition("@")[0], secret):
        assert word not in kept
    logged = capsys.readouterr()
    assert '"event":"wallet.erased"' in logged.out
    assert email.partition("@")[0] not in logged.out + logged.err

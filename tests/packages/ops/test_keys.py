"""GET, POST, DELETE /ops/keys: made once, shown once, replaced with an overlap, revoked at once."""

import json
from typing import Any

import pytest

from getsmart import auth, tokens
from tests.edge import (
    Door,
    MakeClient,
    Raw,
    assert_plain_main,
    assert_refused,
    check,
    wrong_bodies,
    wrong_keys,
    wrong_values,
)
from tests.support import Answer, Client, Time, call, event

PATH = "ops/keys"
BODY = {"client_id": "academy", "scopes": ["tokens:read"]}
UNKNOWN = "key_01ARZ3NDEKTSV4RRFFQ69G5FAV"
POST = Door(PATH, "POST", "admin", body=BODY)
LISTED = Door(PATH, "GET", "admin")
REVOKED = Door(PATH, "DELETE", "admin", query=f"key_id={UNKNOWN}")


@pytest.fixture
def admin(make_client: MakeClient) -> Client:
    """A key that may do everything."""
    return make_client("operator", scopes=["admin"])


def make(admin: Client, **more: Any) -> dict[str, Any]:
    """A new key as its maker sees it."""
    answer = admin.post(PATH, {**BODY, **more})
    assert answer.status == 201, answer.text
    return answer.data


def delete(client: Client, key_id: str) -> Answer:
    """DELETE a key."""
    headers = {"authorization": f"Bearer {client.token}"}
    return call(PATH, event("DELETE", query=f"key_id={key_id}", headers=headers))


def test_main_is_plain() -> None:
    """The runtime calls it with two arguments."""
    assert_plain_main(PATH)


def test_what_is_refused(subtests: pytest.Subtests, system: Raw, make_client: MakeClient, admin: Client) -> None:
    """Strangers, wrong bodies, other methods; nothing is made."""
    for door in (POST, LISTED, REVOKED):
        check(subtests, system, door, [case for case in wrong_keys(door, make_client) if case.code != "forbidden_ip"])
    token = admin.token
    check(subtests, system, POST, wrong_bodies(POST, token))
    check(subtests, system, POST, wrong_values(POST, token, "client_id", ["", "A b", "x" * 65, 7, None]))
    check(subtests, system, POST, wrong_values(POST, token, "scopes", [[], "admin", None]))
    assert call(PATH, event("PUT")).headers["Allow"] == "GET, POST, DELETE"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"scopes": ["mint"]}, "scopes.0"),
        ({"allowed_ips": ["300.0.0.1"]}, "allowed_ips.0"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips.0"),
        ({"mode": "both"}, "mode"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"limits": {"per_second": 0}}, "limits.per_second"),
        ({"limits": {"per_day": 1}}, "limits.per_day"),
        ({"limits": {"mint_per_day": 5}}, "limits.mint_per_day"),
        ({"replaces": "key_1"}, "replaces"),
        ({"overlap_seconds": -1}, "overlap_seconds"),
    ],
)
def test_a_wrong_order_is_named(admin: Client, more: dict[str, Any], field: str) -> None:
    """Each field that is wrong."""
    assert_refused(admin.post(PATH, {**BODY, **more}), 400, "invalid_request", field)


def test_a_key_is_made_and_its_secret_shown_once(admin: Client, system: Raw) -> None:
    """It works as ordered; only a digest is kept; no later reply has the secret."""
    limits = {"per_second": None, "per_hour": 5, "mint_per_day": "100.5", "treasury_per_day": None}
    made = make(admin, limits=limits, allowed_ips=["192.0.2.0/24"], mode="live", expires_at="2999-01-01T00:00:00Z")
    assert made["limits"] == limits
    assert (made["mode"], made["allowed_ips"]) == ("live", ["192.0.2.0/24"])
    assert (made["expires_at"], made["revoked_at"], made["last_used_at"]) == ("2999-01-01T00:00:00.000Z", None, None)
    row = system.api_keys.find_one({"_id": made["key_id"]})
    assert row is not None
    secret = tokens.parse(made["secret"]).secret
    assert row["secret_sha256"] == tokens.digest(secret)
    assert secret not in json.dumps(row, default=str)
    assert row["limits"]["mint_per_day"] == str(100_500_000_000_000_000_000)
    assert Client(made["secret"]).get("tokens/info", x_forwarded_for="192.0.2.7").status == 200
    assert Client(made["secret"]).get("tokens/info", x_forwarded_for="198.51.100.1").code == "forbidden_ip"
    assert secret not in admin.get(PATH).text


def test_defaults(admin: Client) -> None:
    """A key of which only client and scopes are said."""
    made = make(admin)
    assert made["limits"] == {"per_second": 10, "per_hour": 1000, "mint_per_day": None, "treasury_per_day": None}
    assert (made["mode"], made["allowed_ips"], made["expires_at"]) == ("test", [], None)
    assert made["secret"].startswith("gsk_test_")


def test_keys_are_listed_by_page_with_their_last_use(admin: Client) -> None:
    """Newest first, of one client or of all; each key once."""
    made = [make(admin, client_id=f"client-{number % 2}")["key_id"] for number in range(5)]
    used = make(admin, client_id="user")
    assert Client(used["secret"]).get("tokens/info").status == 200
    seen, cursor = [], ""
    while True:
        page = admin.get(PATH, f"limit=2{cursor}").data
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert {key["key_id"] for key in seen} >= {*made, used["key_id"]}
    assert len(seen) == len({key["key_id"] for key in seen})
    assert all("secret" not in key for key in seen)
    assert {key["key_id"]: key["last_used_at"] for key in seen}[used["key_id"]] is not None
    of_one = admin.get(PATH, "client_id=client-0").data["items"]
    assert {key["key_id"] for key in of_one} == set(made[::2])
    assert_refused(admin.get(PATH, "cursor=nonsense"), 400, "invalid_request", "cursor")


def test_rotation_overlaps(admin: Client, time: Time) -> None:
    """Both keys work for 24 hours, then only the new one."""
    old = make(admin)
    new = make(admin, replaces=old["key_id"])
    time.advance(24 * 3600 - 60)
    assert [Client(key["secret"]).get("tokens/info").status for key in (old, new)] == [200, 200]
    time.advance(120)
    auth.forget()
    assert [Client(key["secret"]).get("tokens/info").status for key in (old, new)] == [401, 200]


def test_an_overlap_never_prolongs(admin: Client, time: Time) -> None:
    """A key that would end sooner ends sooner; an overlap of nothing ends it now."""
    old = make(admin, expires_at="2999-01-01T00:00:00Z")
    make(admin, replaces=old["key_id"], overlap_seconds=10)
    soon = {key["key_id"]: key["expires_at"] for key in admin.get(PATH).data["items"]}[old["key_id"]]
    make(admin, replaces=old["key_id"], overlap_seconds=3600)
    assert {key["key_id"]: key["expires_at"] for key in admin.get(PATH).data["items"]}[old["key_id"]] == soon
    time.advance(11)
    auth.forget()
    assert Client(old["secret"]).get("tokens/info").status == 401


def test_what_cannot_be_replaced(admin: Client) -> None:
    """A key that is unknown, another client's, or revoked; no key is made then."""
    theirs, ended = make(admin, client_id="theirs"), make(admin)
    assert delete(admin, ended["key_id"]).status == 200
    before = len(admin.get(PATH).data["items"])
    assert_refused(admin.post(PATH, {**BODY, "replaces": UNKNOWN}), 404, "not_found")
    for key in (theirs, ended):
        assert_refused(admin.post(PATH, {**BODY, "replaces": key["key_id"]}), 400, "invalid_request", "replaces")
    assert len(admin.get(PATH).data["items"]) == before


def test_a_revoked_key_stops_within_thirty_seconds(admin: Client, system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was used a moment ago; revoking it again changes nothing; an unknown one is not found."""
    made = make(admin)
    client = Client(made["secret"])
    assert client.get("tokens/info").status == 200
    revoked = delete(admin, made["key_id"])
    assert (revoked.status, revoked.data["revoked_at"] is not None) == (200, True)
    real = auth.clock.monotonic
    monkeypatch.setattr(auth.clock, "monotonic", lambda: real() + 30)
    assert client.get("tokens/info").code == "unauthenticated"
    assert delete(admin, made["key_id"]).data == revoked.data
    row = system.api_keys.find_one({"_id": made["key_id"]})
    assert row is not None
    assert [line["what"] for line in row["audit"]] == ["create", "revoke"]
    assert_refused(delete(admin, UNKNOWN), 404, "not_found")

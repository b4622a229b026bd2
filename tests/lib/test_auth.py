"""API keys against the database: who is let in, for how long, from where."""

from datetime import timedelta
from typing import Any

import pytest

from getsmart import auth, clock, mongo, tokens
from getsmart.errors import ForbiddenIp, ForbiddenScope, RateLimited, Unauthenticated
from getsmart.ids import new_id
from ops import keys
from tests.edge import MakeClient, Raw, listen
from tests.support import Time

SCOPE = "tokens:read"


def create(**options: Any) -> str:
    """The token of a new key with one scope and no limits."""
    return keys.create(**{"client_id": "app", "scopes": [SCOPE], "limits": keys.NO_LIMITS, **options}).token


def admit(token: str, scope: str = SCOPE, source: str = "") -> Any:
    """Knock."""
    return auth.admit(token, scope, source, {})


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_known_key_is_its_client(system: Raw, mode: str) -> None:
    """Client, key, mode and scopes as they were given."""
    caller = admit(create(mode=mode, scopes=[SCOPE, "tokens:mint"]))
    assert (caller.client_id, caller.mode, caller.scopes) == ("app", mode, {SCOPE, "tokens:mint"})
    assert caller.key_id == system.api_keys.find_one({})["_id"]  # type: ignore[index]


def test_the_secret_is_not_kept(system: Raw) -> None:
    """Who reads the database cannot call."""
    token = create()
    assert token.rpartition("_")[2] not in str(list(system.api_keys.find({})))


def test_keys_that_are_none(system: Raw) -> None:
    """Unknown, wrong secret, wrong mode, not the form: one and the same refusal."""
    token = create()
    key = tokens.parse(token)
    strangers = (
        tokens.render(tokens.issue("test", new_id("key"))),
        tokens.render(tokens.issue("test", key.key_id)),
        tokens.render(key._replace(mode="live")),
        "gsk_test_1_2",
    )
    for stranger in strangers:
        with pytest.raises(Unauthenticated):
            admit(stranger)
    assert admit(token).client_id == "app"


def test_a_key_expires_on_time_also_in_the_cache(system: Raw, time: Time) -> None:
    """A cached row is compared with the clock at each call."""
    time.stand()
    token = create(expires_at=clock.now() + timedelta(seconds=5))
    admit(token)
    time.advance(4.5)
    admit(token)
    time.advance(1)
    with pytest.raises(Unauthenticated):
        admit(token)


def test_a_revoked_key_stops_within_the_caches_time(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm function notices at the latest after ten seconds, well below the promised thirty."""
    token, ahead, real = create(), 0.0, clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + ahead)
    admit(token)
    assert keys.main(["revoke", tokens.parse(token).key_id]) == 0
    assert auth.CACHE_SECONDS <= 10
    admit(token)  # from the cache
    ahead = auth.CACHE_SECONDS
    with pytest.raises(Unauthenticated):
        admit(token)


def test_a_revoked_key_stops_at_once_where_it_was_not_seen(system: Raw) -> None:
    """A cold function reads it as it is."""
    token = create()
    assert keys.main(["revoke", tokens.parse(token).key_id]) == 0
    with pytest.raises(Unauthenticated):
        admit(token)


def test_a_scope_is_needed_and_admin_has_all(system: Raw) -> None:
    """Exactly the scope, or admin."""
    with pytest.raises(ForbiddenScope):
        admit(create(scopes=["tokens:mint"]))
    assert admit(create(scopes=["admin"])).is_admin


@pytest.mark.parametrize(
    ("allowed", "source", "is_in"),
    [
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "192.0.2.8", False),
        (["192.0.2.0/24", "198.51.100.1/32"], "198.51.100.1", True),
        (["192.0.2.0/24"], "192.0.3.1", False),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "2001:DB9::1", False),
        (["2001:db8::1"], "2001:0db8:0:0:0:0:0:1", True),
        (["2001:db8::/32"], "192.0.2.7", False),
        (["192.0.2.0/24"], "2001:db8::1", False),
        (["0.0.0.0/0"], "", False),
        (["0.0.0.0/0"], "unknown", False),
        ([], "", True),
        ([], "unknown", True),
    ],
)
def test_an_address_list(system: Raw, allowed: list[str], source: str, is_in: bool) -> None:
    """Networks of either family; a key with a list is of no use from an address that is not known."""
    token = create(allowed_ips=allowed)
    if is_in:
        assert admit(token, source=source).client_id == "app"
    else:
        with pytest.raises(ForbiddenIp):
            admit(token, source=source)


def test_the_order_of_refusals(system: Raw) -> None:
    """Address before scope before limit: nobody learns more than they may."""
    token = create(scopes=["tokens:mint"], allowed_ips=["192.0.2.7"], limits={"per_second": 1, "per_hour": 1})
    with pytest.raises(ForbiddenIp):
        admit(token, source="192.0.2.8")
    with pytest.raises(ForbiddenScope):
        admit(token, source="192.0.2.7")
    admit(token, "tokens:mint", "192.0.2.7")
    with pytest.raises(RateLimited):
        admit(token, "tokens:mint", "192.0.2.7")


def test_an_unlimited_key_costs_no_round_trip_once_it_is_known(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """First call: the key is read, its use noted. Then nothing, until the cache ends; use is noted once a minute."""
    token, ahead, real = create(), 0.0, clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + ahead)
    mongo.forget()
    heard = listen(monkeypatch)
    try:
        admit(token)
        assert heard.sent == ["find api_keys", "update api_keys"]
        assert "last_used_at" in system.api_keys.find_one({})  # type: ignore[operator]
        heard.forget()
        for _ in range(20):
            admit(token)
        assert heard.sent == []
        ahead = auth.CACHE_SECONDS
        admit(token)
        assert heard.sent == ["find api_keys"]
        ahead += 60
        heard.forget()
        admit(token)
        assert heard.sent == ["find api_keys", "update api_keys"]
    finally:
        mongo.forget()


def test_a_limited_key_costs_one_round_trip(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limiter decides, counts and notes the use in one command."""
    token = create(limits=None)
    mongo.forget()
    heard = listen(monkeypatch)
    try:
        admit(token)
        heard.forget()
        admit(token)
        assert heard.sent == ["findAndModify api_keys"]
    finally:
        mongo.forget()


def test_the_cache_does_not_grow_for_ever(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more keys than it holds, it starts over; all of them still work."""
    monkeypatch.setattr(auth, "_MOST_CACHED", 2)
    many = [create() for _ in range(5)]
    for token in many * 2:
        assert admit(token).client_id == "app"
        assert len(auth._cache()) <= 2


def test_unknown_keys_are_not_cached(make_client: MakeClient) -> None:
    """A key works the moment it is made, also where it was asked for before; and guesses fill no memory."""
    key = tokens.issue("test", new_id("key"))
    with pytest.raises(Unauthenticated):
        admit(tokens.render(key))
    assert auth._cache() == {}

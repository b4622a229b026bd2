"""The Idempotency-Key of a money call."""

import hashlib
from typing import Any

import pytest

from getsmart.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing
from getsmart.front import Request
from getsmart.idempotency import answer, claim_of
from getsmart.models import Accepted, Caller
from tests.edge import BAD_KEYS

CALLER = Caller("app", "key_1", "test", frozenset())


def request(key: str | None, content: Any = None) -> Request[Any]:
    """A request with that key and body."""
    headers = {"x-forwarded-for": "198.51.100.1, 192.0.2.7"} | ({} if key is None else {"idempotency-key": key})
    made: Request[Any] = Request("POST", "/v1/tokens/mint", headers, "", b"", "req_1")
    made.proven_caller = CALLER
    made.json = {} if content is None else content
    return made


@pytest.mark.parametrize("key", [None, ""])
def test_no_key(key: str | None) -> None:
    """A money call without one is refused."""
    with pytest.raises(IdempotencyKeyMissing):
        claim_of(request(key))


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: repr(key)[:20])
def test_a_key_that_is_none(key: str) -> None:
    """Too long, invisible or not ASCII."""
    with pytest.raises(IdempotencyKeyInvalid):
        claim_of(request(key))


@pytest.mark.parametrize("key", ["k", "!" * 255, '~"{}\\'])
def test_a_key_is_bound_to_client_path_and_body(key: str) -> None:
    """The claim says who asks, where, for what, and from which address."""
    claim = claim_of(request(key, {"b": [1, "\u00e4"], "a": None}))
    digest = hashlib.sha256(b'{"a":null,"b":[1,"\\u00e4"]}').hexdigest()
    assert (claim.caller, claim.route) == (CALLER, "/v1/tokens/mint")
    assert (claim.idempotency_key, claim.body_digest) == (key, digest)
    assert (claim.request_id, claim.source) == ("req_1", "192.0.2.7")


def test_the_same_json_in_another_order_is_the_same_request() -> None:
    """Order of names does not matter; order of a list, type and value do."""
    same = {claim_of(request("k", content)).body_digest for content in ({"a": 1, "b": 2}, {"b": 2, "a": 1})}
    assert len(same) == 1
    others = {claim_of(request("k", content)).body_digest for content in ({"a": [1, 2]}, {"a": [2, 1]}, {"a": "1"}, {})}
    assert len(others) == 4


@pytest.mark.parametrize(("is_replay", "said"), [(True, "true"), (False, "false")])
def test_an_answer_is_the_stored_one(is_replay: bool, said: str) -> None:
    """Byte for byte, with a header that tells whether it is a replay."""
    reply = answer(Accepted(202, '{"a": 1}', is_replay))
    assert (reply.status, reply.body, reply.headers) == (202, '{"a": 1}', {"Idempotent-Replayed": said})

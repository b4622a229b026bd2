"""What tests of consent share: two wallets, the person's browser, and the relay."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from getsmart import config
from getsmart.metakeep.signing import SigningKey
from getsmart.services import inbound, tick
from tests.deliveries import delivery
from tests.money import Bench, units
from tests.support import Answer, unique

RELAY = SigningKey.from_secret("c" * 42 + "A")
TOKEN_LIFE = 600.0
MINED = 3.0
ENDED = TOKEN_LIFE + 121.0


@dataclass
class Pair:
    """Two wallets, and transfers from the first, which holds 100 GETS, to the second."""

    bench: Bench
    target: dict[str, Any]

    def transfer(self, amount: str = "7", *, key: str | None = None, **more: Any) -> Answer:
        """POST tokens/transfer from the wallet."""
        body = {
            "from_wallet_id": self.bench.wallet["wallet_id"],
            "to_wallet_id": self.target["wallet_id"],
            "amount": amount,
            **more,
        }
        return self.bench.app.post("tokens/transfer", body, key=key or unique("consent"))

    def answer(self, asked: Answer, action: str = "approve") -> str:
        """What the person does in MetaKeep's frame; the id that their browser gets."""
        reply = self.bench.provider.private("consent", consentToken=asked.data["consent_token"], action=action)
        return str(reply.get("transactionId", ""))

    def report(self, asked: Answer, metakeep_transaction_id: str) -> Answer:
        """POST tokens/consent."""
        body = {
            "transaction_id": asked.data["transaction_id"],
            "metakeep_transaction_id": metakeep_transaction_id,
        }
        return self.bench.app.post("tokens/consent", body)

    def pass_time(self, seconds: float, looks: int = 1) -> None:
        """Let time go by, and the tick look."""
        self.bench.time.advance(seconds)
        for _ in range(looks):
            tick.run()

    def read(self, asked: Answer) -> dict[str, Any]:
        """GET tokens/transaction."""
        return self.bench.app.get("tokens/transaction", f"transaction_id={asked.data['transaction_id']}").data

    def ends(self, asked: Answer, status: str, *, logs: int) -> None:
        """The transaction has ended so, the chain has so many Transfers to the target, and the books agree."""
        assert self.bench.status(asked) == status, self.bench.row(asked)
        assert self.bench.logs(self.target["address"]) == logs
        moved = units("7") * logs
        assert self.bench.on_chain() == units("100") - moved
        assert self.bench.available(self.bench.wallet["wallet_id"]) == units("100") - moved
        self.bench.audit()

    def deliver(self, event_type: str, **data: str) -> dict[str, str]:
        """A genuine delivery of our relay."""
        body = b'{"type":"%b","data":%b}' % (event_type.encode(), _json(data))
        headers = delivery(RELAY, body, at_ms=_now_ms(self.bench), event_id=unique("event"), host="localhost")
        return inbound.receive(headers, body)


def _json(data: dict[str, str]) -> bytes:
    return json.dumps(data).encode()


def _now_ms(bench: Bench) -> int:
    return int(bench.now().timestamp() * 1000)


@pytest.fixture
def pair(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two wallets of one application, and a relay whose key is pinned."""
    monkeypatch.setenv("METAKEEP_WEBHOOK_SENDER_KEYS", RELAY.public_key)
    config.forget()
    bench.catch_up()
    bench.funded("100")
    return Pair(bench, bench.new_wallet())

"""`python -m local.demo`: the story of the product, from the first wallet to the books, on a system of its own.

Functions run in the gateway's process: the walk shall be quick, and need no build.
"""

import queue
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import requests
from rich.console import Console
from rich.table import Table
from rich.text import Text

from local.processes import Child, ChildFailed
from local.serve import Interrupted, interruptible, settings
from local.stack import Facts, Ports, Stack

_DECIMALS = 18
_BALANCE_OF, _TOTAL_SUPPLY = "0x70a08231", "0x18160ddd"
_DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.1
_MINE_AFTER_MS = 1_000
# What a run of functions is configured by must not reach into somebody's real database.
_NOT_OURS = ("MONGODB_URI", "MONGODB_DATABASE")

Json = dict[str, Any]
Found = TypeVar("Found")


class Difference(Exception):
    """What happened is not what was promised; the text says both."""


class Story:
    """Tells each step as a row of the table, at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._row("seconds", "what happened", "what shows it", style="bold")
        console.rule(style="dim")

    def tell(self, what: str, *evidence: str) -> None:
        """Add a row."""
        self._row(f"{time.monotonic() - self._started:.1f}", what, "\n".join(evidence))

    def _row(self, *cells: str, style: str = "") -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(width=7, justify="right")
        table.add_column(width=36)
        table.add_column(overflow="fold")
        table.add_row(*(Text(cell) for cell in cells), style=style)
        self._console.print(table)


class Caller:
    """An application with an API key, a node's JSON-RPC port, and a look at what the provider sent."""

    def __init__(self, facts: Facts, http: requests.Session) -> None:
        self._facts = facts
        self._http = http
        http.trust_env = False  # no proxy between us and this machine
        http.headers["Authorization"] = f"Bearer {facts.api_key}"

    def get(self, path: str, **query: str) -> Json:
        """The data of a 200 reply. Raises Difference for any other."""
        reply = self._http.get(f"{self._facts.gateway}/v1/{path}", params=query, timeout=10)
        return _data(reply, 200)

    def post(self, path: str, body: Json, status: int, key: str | None = None) -> tuple[Json, requests.Response]:
        """The data of a reply with that status, and the reply. Raises Difference for any other."""
        headers = {"Idempotency-Key": key} if key else {}
        reply = self._http.post(f"{self._facts.gateway}/v1/{path}", json=body, headers=headers, timeout=10)
        return _data(reply, status), reply

    def call_contract(self, contract: str, data: str) -> int:
        """The number that a read of the contract returns, asked of the node with `eth_call`."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"to": contract, "data": data}, "latest"]}
        return int(self._http.post(self._facts.rpc, json=call, timeout=10).json()["result"], 16)

    def deliveries(self) -> list[Json]:
        """What the provider sent us as webhooks, and what we answered."""
        found: list[Json] = self._http.get(f"{self._facts.sandbox}/_sandbox/webhooks", timeout=10).json()["deliveries"]
        return found


def main() -> int:
    """0 when all went as promised; 1, with one clear line, at the first difference."""
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 132, highlight=False)
    ended: queue.SimpleQueue[Child] = queue.SimpleQueue()
    try:
        with interruptible(), ExitStack() as stops:
            _run(console, stops, ended)
    except (ChildFailed, Difference, OSError) as error:  # a requests error is an OSError
        fact = str(error) if ended.empty() else ended.get().obituary()
        print(f"demo: {fact}", file=sys.stderr)
        return 1
    except Interrupted:
        return 130
    console.print("\nEverything as promised; nothing is left running.")
    return 0


def _run(console: Console, stops: ExitStack, ended: "queue.SimpleQueue[Child]") -> None:
    data = Path(stops.enter_context(tempfile.TemporaryDirectory(prefix="getsmart-demo-")))
    environment = {name: value for name, value in settings().items() if name not in _NOT_OURS}
    stack = Stack(data, Ports.free(), environment, ended.put, console.print, _MINE_AFTER_MS)
    facts = stack.start(stops)
    console.print()
    story = Story(console)
    story.tell("system started", f"gateway {facts.gateway}/v1", f"sandbox {facts.sandbox}", f"chain {facts.rpc}")
    caller = Caller(facts, stops.enter_context(requests.Session()))
    walk(caller, story)


def walk(caller: Caller, story: Story) -> None:
    """The story. Raises Difference where it does not go as promised."""
    contract = caller.get("tokens/info")["contract_address"]
    wallet = _wallet(caller, story)
    _balances(caller, story, contract, wallet, "0")
    order = {"wallet_id": wallet["wallet_id"], "badge_claim": {"badge_id": "python-101", "claimant": "ada"}}
    key = f"demo-{uuid.uuid4()}"
    accepted, first_reply = caller.post("tokens/mint", order, 202, key)
    story.tell("mint for a badge claim accepted", f"202, {accepted['transaction_id']}, {accepted['amount']} GETS")
    _webhook(caller, story, accepted)
    _confirmed(caller, story, accepted, "mint")
    _balances(caller, story, contract, wallet, "1000")
    _pay_and_burn(caller, story, contract, wallet)
    _supply(caller, story, contract)
    _replay(caller, story, order, key, first_reply)


def _wallet(caller: Caller, story: Story) -> Json:
    owner = {"owner": {"email": "ada@example.com"}}
    wallet, _ = caller.post("wallets/create", owner, 201)
    story.tell("wallet created", f"{wallet['wallet_id']} at {wallet['address']}")
    again, _ = caller.post("wallets/create", owner, 200)
    _same("the wallet of a second create", again["wallet_id"], wallet["wallet_id"])
    return wallet


def _webhook(caller: Caller, story: Story, transaction: Json) -> None:
    """MetaKeep's signed webhook has arrived, and we answered 200, which we do only after verifying it."""

    def verified() -> Json | None:
        wanted = (transaction["metakeep_transaction_id"], 200)
        return next((one for one in caller.deliveries() if (one["transactionId"], one["httpStatus"]) == wanted), None)

    delivery = _eventually("a signed webhook that we answered with 200", verified)
    story.tell("signed webhook received, verified", f"{delivery['type']}, event {delivery['eventId']}")


def _confirmed(caller: Caller, story: Story, transaction: Json, kind: str) -> None:
    def confirmed() -> Json | None:
        now = caller.get("tokens/transaction", transaction_id=transaction["transaction_id"])
        return now if now["status"] == "confirmed" else None

    now = _eventually(f"{kind} {transaction['transaction_id']} confirmed", confirmed)
    story.tell(f"{kind} confirmed on chain", f"block {now['block_number']}, {now['tx_hash']}")


def _pay_and_burn(caller: Caller, story: Story, contract: str, wallet: Json) -> None:
    gift = {"to_wallet_id": wallet["wallet_id"], "amount": "250.5", "reason": "hackathon prize"}
    paid, _ = caller.post("tokens/transfer", gift, 202, f"demo-{uuid.uuid4()}")
    story.tell("transfer from the treasury accepted", f"202, {paid['transaction_id']}, {paid['amount']} GETS")
    _confirmed(caller, story, paid, "transfer")
    _balances(caller, story, contract, wallet, "1250.5")
    fee = {"wallet_id": wallet["wallet_id"], "amount": "50", "reason": "certificate fee"}
    burnt, _ = caller.post("tokens/burn", fee, 202, f"demo-{uuid.uuid4()}")
    story.tell("burn accepted", f"202, {burnt['transaction_id']}, {burnt['amount']} GETS")
    _confirmed(caller, story, burnt, "burn")
    _balances(caller, story, contract, wallet, "1200.5")


def _balances(caller: Caller, story: Story, contract: str, wallet: Json, expected: str) -> None:
    """Our books and the chain say the same."""
    books = caller.get("wallets/balance", wallet_id=wallet["wallet_id"])["posted"]
    on_chain = caller.call_contract(contract, _BALANCE_OF + wallet["address"].removeprefix("0x").lower().zfill(64))
    _same("the posted balance", books, expected)
    _same("balanceOf on the chain", on_chain, _base_units(expected))
    story.tell("balance of the wallet", f"books {books} GETS = eth_call balanceOf {on_chain}")


def _supply(caller: Caller, story: Story, contract: str) -> None:
    """The tick sums what was burned within seconds; then circulating is the contract's totalSupply."""
    total = caller.call_contract(contract, _TOTAL_SUPPLY)

    def agrees() -> Json | None:
        info = caller.get("tokens/info")
        return info if _base_units(info["circulating"]) == total else None

    info = _eventually(f"a circulating supply of {total} base units", agrees)
    story.tell("supply", f"books {info['circulating']} GETS = eth_call totalSupply {total}")


def _replay(caller: Caller, story: Story, order: Json, key: str, first: requests.Response) -> None:
    """The same call under the same key: the same bytes, and nothing happens."""
    _, second = caller.post("tokens/mint", order, 202, key)
    replayed = second.headers.get("Idempotent-Replayed")
    _same("Idempotent-Replayed", replayed, "true")
    _same("the replayed body", second.content, first.content)
    story.tell("same call, same key: replayed", f"202, the same {len(second.content)} bytes, Idempotent-Replayed: true")


def _data(reply: requests.Response, status: int) -> Json:
    if reply.status_code != status:
        raise Difference(f"{reply.request.method} {reply.url}: {reply.status_code}, not {status}: {reply.text[:500]}")
    data: Json = reply.json()["data"]
    return data


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Difference(f"{what} is {found!r}, not {expected!r}")


def _eventually(what: str, look: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise Difference(f"not seen within {_DEADLINE_SECONDS:g} s: {what}")
        time.sleep(_POLL_SECONDS)
    return found


def _base_units(amount: str) -> int:
    return int(Decimal(amount).scaleb(_DECIMALS))


if __name__ == "__main__":
    sys.exit(main())

"""Everything a sandbox knows, behind one lock: database, chain, clock and credentials, kept in step."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_hash.auto import keccak

from local import contract
from local.chain import Block, Call, Chain
from local.sandbox import credentials, wallets
from local.sandbox.clock import Clock
from local.sandbox.store import Row, Store

CHAIN_ID = 80002
_ACTIVE = "SELECT * FROM journal WHERE orphaned = 0 ORDER BY seq"


@dataclass(frozen=True)
class Options:
    """How a sandbox is to behave; `webhook_url` None sends no webhooks."""

    data: Path
    mine_after_ms: int = 2000
    signing_host: str = "metakeep.localhost"
    api_signature_required: bool = True
    webhook_url: str | None = None
    webhook_host: str = "localhost"
    webhook_scheme: str = "p256"


@dataclass
class World:
    """The state of one sandbox. Whatever reads or changes it does so inside `change()`."""

    options: Options
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        """Open the database, make or read the credentials and replay the journal."""
        self._lock = threading.RLock()
        self.news = threading.Event()  # set when a webhook may be due
        self.store = Store(self.options.data)
        with self.store.transaction():
            self.credentials = credentials.load(self.store)
            self.clock.offset_ms = self.store.setting("clock_offset_ms", 0)
            self.seed = bytes.fromhex(self.credentials.seed)
            self.treasury = wallets.eth_address(self.seed, wallets.DEVELOPER)
            self.chain = Chain(CHAIN_ID, self._genesis_ms())
            self._rebuild()
            if self.chain.head.number == 0:
                self._deploy_token()
        self.token = str(self.chain.blocks[1].contract_address)

    def _genesis_ms(self) -> int:
        known: int | None = self.store.setting("genesis_ms")
        if known is None:
            known = self.clock.now_ms()
            self.store.set_setting("genesis_ms", known)
        return known

    def _deploy_token(self) -> None:
        code = contract.deployment(contract.TOKEN_NAME, contract.TOKEN_SYMBOL, self.treasury, contract.GENESIS)
        deployer = wallets.eth_address(self.seed, "gas-account:genesis")
        call = Call(keccak(b"genesis" + self.seed), deployer, None, code, self.clock.now_ms())
        address = str(self.mine(call).contract_address)
        self.add_currency(address, contract.TOKEN_NAME, contract.TOKEN_SYMBOL)

    def add_currency(self, address: str, name: str, symbol: str) -> None:
        """Remember a coin that was created here."""
        self.store.run("INSERT INTO currencies VALUES (?, ?, ?)", address, name, symbol)

    @contextmanager
    def change(self, *, flush: bool = False) -> Iterator[None]:
        """One step of the world: alone, and durable as a whole before it returns; `flush` as in the store.

        When it fails, the database rolls back and the chain is built again from the journal.
        """
        with self._lock:
            head, offset = self.chain.head, self.clock.offset_ms
            try:
                with self.store.transaction(flush=flush):
                    yield
            except BaseException:
                self.clock.offset_ms = offset
                if self.chain.head is not head:
                    self._rebuild()
                raise

    def _rebuild(self) -> None:
        self.chain.replay(_read_call(row) for row in self.store.rows(_ACTIVE))

    def mine(self, call: Call) -> Block:
        """Execute a call in a block of its own and write it into the journal."""
        self.store.run(
            "INSERT INTO journal (tx_hash, sender, target, data, at_ms, refusal, branch) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(call.tx_hash, call.sender, call.to, call.data, call.at_ms, call.refusal, call.branch),
        )
        return self.chain.mine(call)

    def reorganise(self, depth: int, dropped: Sequence[bytes]) -> None:
        """Replace the newest `depth` blocks, without the `dropped` transactions.

        The block that deploys the token stays; raises ValueError when `depth` would reach it.
        """
        if not 1 <= depth < self.chain.head.number:
            raise ValueError(f"depth must be 1 to {self.chain.head.number - 1}")
        calls = self.chain.reorganise(depth, dropped)
        self.store.run(
            "UPDATE journal SET orphaned = 1 WHERE seq IN"
            " (SELECT seq FROM journal WHERE orphaned = 0 ORDER BY seq DESC LIMIT ?)",
            depth,
        )
        self.chain.replay([block.call for block in self.chain.blocks[1:-depth]])
        for call in calls:
            self.mine(call)

    def mine_again(self, tx_hash: bytes) -> Block:
        """Mine a transaction that a reorganisation had dropped; raises ValueError when there is none."""
        dropped = "SELECT * FROM journal WHERE orphaned = 1 AND tx_hash = ? ORDER BY seq DESC"
        row = self.store.row(dropped, tx_hash)
        if row is None or self.chain.block_of(tx_hash) is not None:
            raise ValueError("no reorganisation has dropped this transaction")
        call = _read_call(row)
        at_ms = max(self.clock.now_ms(), self.chain.head.call.at_ms)
        return self.mine(Call(call.tx_hash, call.sender, call.to, call.data, at_ms, call.refusal, call.branch))

    def close(self) -> None:
        """Close the database; the world is of no use afterwards."""
        with self._lock:
            self.store.close()


def _read_call(row: Row) -> Call:
    return Call(row["tx_hash"], row["sender"], row["target"], row["data"], row["at_ms"], row["refusal"], row["branch"])

"""What each MetaKeep endpoint does, given a well-formed body; the table at the end names them all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from pydantic import BaseModel

from local import contract
from local.chain import CallReverted
from local.sandbox import faults, shapes, transactions, wallets
from local.sandbox.problems import INVALID_REQUEST, TOO_MANY_USERS, Refusal
from local.sandbox.transactions import Fate
from local.sandbox.world import World

NATIVE_CURRENCY = "0x0000000000000000000000000000000000001010"
DEFAULT_LAG_MS = 35_000
_RLP_OF_NONCE_ZERO = b"\x80"
Reply = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """A path's body shape and its work; `makes_transaction` says that a fault can decide a transaction's fate."""

    shape: type[BaseModel]
    run: Callable[[World, Any, Fate], Reply]
    makes_transaction: bool = False


def _success(**fields: Any) -> Reply:
    return {"status": "SUCCESS", **fields}


def _get_wallet(world: World, body: shapes.GetWallet, _: Fate) -> Reply:
    identity = wallets.email_identity(body.user.email)
    if world.store.row("SELECT 1 FROM wallets WHERE identity = ?", identity) is None:
        world.store.run("INSERT INTO wallets VALUES (?)", identity)
    return _success(wallet=wallets.wallet(world.seed, identity))


def _get_wallets(world: World, body: shapes.GetWallets, _: Fate) -> Reply:
    if len(body.users) > shapes.MAX_USERS:
        raise Refusal(TOO_MANY_USERS, 400, f"at most {shapes.MAX_USERS} users")
    found = []
    for user in body.users:
        identity = wallets.email_identity(user.email)
        if world.store.row("SELECT 1 FROM wallets WHERE identity = ?", identity):
            wallet = wallets.wallet(world.seed, identity)
            del wallet["eosAddress"]
            found.append({"user": {"email": user.email}, "wallet": wallet})
    return _success(wallets=found)


def _get_developer_wallet(world: World, _: shapes.GetDeveloperWallet, __: Fate) -> Reply:
    return _success(wallet=wallets.wallet(world.seed, wallets.DEVELOPER))


def _address(world: World, party: shapes.Party | shapes.User) -> str:
    address = getattr(party, "ethAddress", None)
    if address is not None:
        return str(address)
    return wallets.eth_address(world.seed, wallets.email_identity(party.email or ""))


def _currency(world: World, coin: shapes.Coin) -> str:
    """Only coins created here are served, as at MetaKeep."""
    if world.store.row("SELECT 1 FROM currencies WHERE address = ?", coin.currency) is None:
        raise Refusal(INVALID_REQUEST, 400, "this currency was not created through MetaKeep")
    return coin.currency


def _create_currency(world: World, body: shapes.CreateCurrency, fate: Fate) -> Reply:
    """A gas account of its own deploys each coin, so that the address is known before the block."""
    number = len(world.store.rows("SELECT 1 FROM currencies"))
    deployer = wallets.eth_address(world.seed, f"gas-account:{number}")
    rlp = b"\xd6\x94" + bytes.fromhex(deployer[2:]) + _RLP_OF_NONCE_ZERO
    address = to_checksum_address(keccak(rlp)[-20:])
    code = contract.deployment(body.coin.name, body.coin.symbol, world.treasury, 0)
    reply = transactions.queue(world, deployer, None, code, fate)
    world.add_currency(address, body.coin.name, body.coin.symbol)
    return {**reply, "currency": address}


def _mint(world: World, body: shapes.Mint, fate: Fate) -> Reply:
    signature = "mint_locked(address,uint256)" if body.locked else "mint(address,uint256)"
    data = contract.call_data(signature, _address(world, body.to), shapes.read_amount(body.amount))
    return transactions.queue(world, world.treasury, _currency(world, body.coin), data, fate)


def _transfer(world: World, body: shapes.Transfer, fate: Fate) -> Reply:
    currency = _currency(world, body.coin)
    data = contract.call_data("transfer(address,uint256)", _address(world, body.to), shapes.read_amount(body.amount))
    if body.holder is None:
        return transactions.queue(world, world.treasury, currency, data, fate)
    return transactions.ask_consent(world, _address(world, body.holder), currency, data, fate)


def _burn(world: World, body: shapes.HolderAmount, fate: Fate) -> Reply:
    data = contract.call_data("burn(uint256)", shapes.read_amount(body.amount))
    return transactions.queue(world, _address(world, body.holder), _currency(world, body.coin), data, fate)


def _locker(signature: str) -> Callable[[World, shapes.HolderAmount, Fate], Reply]:
    def run(world: World, body: shapes.HolderAmount, fate: Fate) -> Reply:
        data = contract.call_data(signature, _address(world, body.holder), shapes.read_amount(body.amount))
        return transactions.queue(world, world.treasury, _currency(world, body.coin), data, fate)

    return run


def _balance_of(world: World, currency: str, holder: str, number: int) -> Reply:
    def ask(signature: str, *arguments: str) -> bytes:
        return world.chain.ask(currency, contract.call_data(signature, *arguments), number=number)

    return {
        "currency": currency.lower(),
        "balance": shapes.write_amount(contract.read_uint(ask("balanceOf(address)", holder))),
        "name": contract.read_text(ask("name()")),
        "symbol": contract.read_text(ask("symbol()")),
        "locked": shapes.write_amount(contract.read_uint(ask("locked(address)", holder))),
    }


def _balance(world: World, body: shapes.Balance, _: Fate) -> Reply:
    """Mined state only, and older than that when a fault says so."""
    lag = faults.take(world, "/v2/app/coin/balance", faults.READS)
    number = world.chain.head.number
    if lag:
        number = max(1, world.chain.number_at(world.clock.now_ms() - lag.get("delay_ms", DEFAULT_LAG_MS)))
    holder, balances = _address(world, body.of), []
    for currency in body.coins.currencies:
        if currency == NATIVE_CURRENCY:
            balances.append({"currency": currency, "balance": "0", "name": "Polygon", "symbol": "POL"})
            continue
        try:
            balances.append(_balance_of(world, currency, holder, number))
        except (CallReverted, contract.NotACoin):
            raise Refusal(INVALID_REQUEST, 400, f"{currency} is not a coin") from None
    return _success(balances=balances)


def _status(world: World, body: shapes.Status, _: Fate) -> Reply:
    view = transactions.status(world, body.transactionId)
    if view is None:
        raise Refusal(INVALID_REQUEST, 400, "unknown transactionId")
    return view


ENDPOINTS: dict[str, Endpoint] = {
    "/v3/getWallet": Endpoint(shapes.GetWallet, _get_wallet),
    "/v3/getWallet/multiple": Endpoint(shapes.GetWallets, _get_wallets),
    "/v3/getDeveloperWallet": Endpoint(shapes.GetDeveloperWallet, _get_developer_wallet),
    "/v2/app/coin/createCurrency": Endpoint(shapes.CreateCurrency, _create_currency, True),
    "/v2/app/coin/mint": Endpoint(shapes.Mint, _mint, True),
    "/v2/app/coin/transfer": Endpoint(shapes.Transfer, _transfer, True),
    "/v2/app/coin/burn": Endpoint(shapes.HolderAmount, _burn, True),
    "/v2/app/coin/lock": Endpoint(shapes.HolderAmount, _locker("lock(address,uint256)"), True),
    "/v2/app/coin/unlock": Endpoint(shapes.HolderAmount, _locker("unlock(address,uint256)"), True),
    "/v2/app/coin/balance": Endpoint(shapes.Balance, _balance),
    "/v2/app/transaction/status": Endpoint(shapes.Status, _status),
}

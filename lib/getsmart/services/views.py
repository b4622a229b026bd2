"""Reads only, so that reading functions never load the provider's client."""

from typing import Any

from getsmart import clock, config, objects
from getsmart.amounts import DECIMALS, MAX_SUPPLY, format_units
from getsmart.errors import Internal, NotFound
from getsmart.models import BURNED, ISSUANCE, SUPPLY, TREASURY, Caller, WalletRow
from getsmart.mongo import Document, to_units
from getsmart.stores import controls, ledger, transactions, wallets


def _view_of(caller: Caller) -> str | None:
    return None if caller.is_admin else caller.client_id


def wallet(caller: Caller, *, wallet_id: str | None, email: str | None, address: str | None) -> dict[str, Any]:
    """The wallet object by id, by normalised e-mail address or by chain address. Raises NotFound."""
    row: WalletRow | None = None
    if wallet_id is not None:
        row = wallets.find(wallet_id, _view_of(caller))
    elif email is not None:
        row = wallets.find_by_email(email, _view_of(caller))
    elif address is not None:
        row = wallets.find_by_address(address, _view_of(caller))
    if row is None:
        raise NotFound("wallet")
    return objects.wallet(row, caller.client_id)


def balance(caller: Caller, wallet_id: str) -> dict[str, Any]:
    """The balance object of a linked wallet, as of now. Raises NotFound."""
    found = wallets.find_with_account(wallet_id, _view_of(caller))
    if found is None:
        raise NotFound(f"wallet {wallet_id}")
    _, account, incoming = found
    pending_in = sum(to_units(row["amount"]) for row in incoming)
    return objects.balance(wallet_id, account, pending_in, clock.to_wire(clock.now()))


def transaction(caller: Caller, transaction_id: str) -> dict[str, Any]:
    """The transaction object of one of the client's transactions. Raises NotFound."""
    row = transactions.find(transaction_id, _view_of(caller))
    if row is None:
        raise NotFound(f"transaction {transaction_id}")
    return objects.transaction(row)


def token() -> dict[str, Any]:
    """The token object. The sums trail a confirmation by the tick's interval (2 s)."""
    settings = config.read(config.TokenSettings)
    singles = controls.read_all()
    if not {SUPPLY, TREASURY, ledger.BOOKS} <= singles.keys():
        raise Internal("the database has no genesis; migrations are missing")
    books, supply = singles[ledger.BOOKS], singles[SUPPLY]
    minted = -to_units(books[ISSUANCE])
    burned = to_units(books[BURNED])
    return {
        "name": "GetSmart Token",
        "symbol": "GETS",
        "decimals": DECIMALS,
        "contract_address": settings.contract_address,
        "network": settings.network,
        "chain_id": settings.chain_id,
        "max_supply": format_units(MAX_SUPPLY),
        "minted": format_units(minted),
        "reserved": format_units(_reserved(supply, minted)),
        "burned": format_units(burned),
        "circulating": format_units(minted - burned),
        "treasury": {"address": settings.treasury_address, "balance": format_units(to_units(books[TREASURY]))},
        "reconciled_to_block": singles.get(controls.TICK, {}).get("reconciled_to_block"),
    }


def _reserved(supply: Document, minted: int) -> int:
    """What is set aside for mints that are under way: all that is neither free nor minted."""
    return MAX_SUPPLY - to_units(supply["available"]) - minted

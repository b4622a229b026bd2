"""Reads only, so that reading functions never load the provider's client."""

from datetime import datetime
from typing import Any

from getsmart import clock, config, objects
from getsmart.amounts import DECIMALS, MAX_SUPPLY, format_units
from getsmart.errors import Internal, InvalidRequest, NotFound
from getsmart.models import BURNED, ISSUANCE, SUPPLY, TREASURY, AccountRow, Caller, WalletFilter, WalletRow
from getsmart.mongo import Document, to_units
from getsmart.paging import Page
from getsmart.stores import controls, ledger, progress, transactions, wallets


def wallet(caller: Caller, *, wallet_id: str | None, email: str | None, address: str | None) -> dict[str, Any]:
    """The wallet object by id, by normalised e-mail address or by chain address. Raises NotFound."""
    row: WalletRow | None = None
    if wallet_id is not None:
        row = wallets.find(wallet_id, caller.view)
    elif email is not None:
        row = wallets.find_by_email(email, caller.view)
    elif address is not None:
        row = wallets.find_by_address(address, caller.view)
    if row is None:
        raise NotFound("wallet")
    return objects.wallet(row, caller.client_id)


def wallet_list(caller: Caller, only: WalletFilter, page: Page) -> dict[str, Any]:
    """A page of the wallets that the client is linked to, newest first."""
    rows = wallets.find_page(caller.view, caller.client_id, only, page.after, page.limit + 1)
    return page.close(rows, lambda row: objects.wallet(row, caller.client_id), lambda row: row["_id"])


def balance(caller: Caller, wallet_id: str) -> dict[str, Any]:
    """The balance object of a linked wallet, as of now. Raises NotFound."""
    return _balance(caller, wallet_id)[0]


def balance_at(caller: Caller, wallet_id: str, moment: datetime) -> dict[str, Any]:
    """The balance object as of a moment of the past; zero before the wallet was. Raises InvalidRequest, NotFound."""
    if moment > clock.now():
        raise InvalidRequest.field("at", "must not be in the future")
    is_linked, entry = ledger.find_entry_at(wallet_id, caller.view, moment)
    if not is_linked:
        raise NotFound(f"wallet {wallet_id}")
    return objects.past_balance(wallet_id, entry, clock.to_wire(moment))


def balance_with_chain(caller: Caller, wallet_id: str) -> dict[str, Any]:
    """The balance object with `chain{balance, block_number, difference}`; the difference is chain less posted.

    The chain is read at the depth at which transfers are booked and reconciled, so that 0 means agreement. Raises
    InvalidRequest where no node is configured, NotFound, and ChainUnavailable.
    """
    from getsmart import chain  # only where it is asked for: the transport costs a reading function a start

    if not chain.is_configured():
        raise InvalidRequest.field("source", "the chain cannot be read here")
    seen, row, account = _balance(caller, wallet_id)
    block = max(chain.head() - config.read(config.ChainSettings).confirmation_depth, 0)
    units = chain.balance_of(config.read(config.TokenSettings).contract_address, row["address"], block)
    posted = to_units(account["posted"]) if account else 0
    found = {"balance": format_units(units), "block_number": block, "difference": format_units(units - posted)}
    return {**seen, "chain": found}


def _balance(caller: Caller, wallet_id: str) -> tuple[dict[str, Any], WalletRow, AccountRow | None]:
    found = wallets.find_with_account(wallet_id, caller.view)
    if found is None:
        raise NotFound(f"wallet {wallet_id}")
    row, account, pending_in = found
    return objects.balance(wallet_id, account, pending_in, clock.to_wire(clock.now())), row, account


def transaction(caller: Caller, transaction_id: str) -> dict[str, Any]:
    """The transaction object of one of the client's transactions. Raises NotFound."""
    row = transactions.find(transaction_id, caller.view)
    if row is None:
        raise NotFound(f"transaction {transaction_id}")
    return objects.own_transaction(row, caller.client_id)


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
        "reconciled_to_block": singles.get(progress.NAME, {}).get("to_block"),
    }


def _reserved(supply: Document, minted: int) -> int:
    """What is set aside for mints that are under way: all that is neither free nor minted."""
    return MAX_SUPPLY - to_units(supply["available"]) - minted

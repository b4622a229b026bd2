"""Mint, transfer and burn: plain functions without a word of HTTP."""

from getsmart import config
from getsmart.amounts import BADGE_REWARD
from getsmart.errors import InvalidRequest, InvalidState, NotFound
from getsmart.machine.claim import Draft, place
from getsmart.metakeep import protocol
from getsmart.models import (
    BURNED,
    EXTERNAL,
    ISSUANCE,
    SUPPLY,
    TREASURY,
    Accepted,
    Caller,
    Claim,
    Party,
    WalletRow,
)
from getsmart.stores import wallets

_ZERO_ADDRESS = "0x" + "0" * 40


def mint(claim: Claim, *, wallet_id: str, amount: int, reason: str | None) -> Accepted:
    """Mint `amount` base units into a linked wallet.

    Raises NotFound for a wallet the client is not linked to, and what `machine.claim.place` raises.
    """
    return place(claim, lambda: _mint(claim.caller, wallet_id, amount, reason))


def mint_for_badge(claim: Claim, *, wallet_id: str, badge_id: str, claimant: str, reason: str | None) -> Accepted:
    """Mint the badge reward; one badge and claimant of a client is rewarded once. Raises as `mint`."""
    badge = {"badge_id": badge_id, "claimant": claimant}
    return place(claim, lambda: _mint(claim.caller, wallet_id, BADGE_REWARD, reason), badge)


def _mint(caller: Caller, wallet_id: str, amount: int, reason: str | None) -> Draft:
    wallet = _wallet(caller, wallet_id)
    path, body = protocol.mint(_contract(), wallet["email"], amount)
    return Draft("mint", amount, {"account": ISSUANCE}, _party(wallet), SUPPLY, path, body, reason)


def transfer_from_treasury(
    claim: Claim, *, to_wallet_id: str | None, to_address: str | None, amount: int, reason: str | None
) -> Accepted:
    """Pay `amount` base units from the treasury to a linked wallet or to a chain address; exactly one is given.

    Raises InvalidRequest for an address that cannot be paid, NotFound, and what `machine.claim.place` raises.
    """

    def draft() -> Draft:
        target, recipient = _to_address(to_address) if to_address else _to_wallet(claim.caller, to_wallet_id or "")
        path, body = protocol.transfer(_contract(), recipient, amount)
        return Draft("transfer", amount, {"account": TREASURY}, target, TREASURY, path, body, reason)

    return place(claim, draft)


def transfer_from_wallet(
    claim: Claim,
    from_wallet_id: str,
    *,
    to_wallet_id: str | None,
    to_address: str | None,
    amount: int,
    reason: str | None,
) -> Accepted:
    """The same from a linked wallet, whose owner has to approve: the transaction waits for consent.

    Raises as `transfer_from_treasury`, InvalidRequest where both sides are one wallet, and ChainUnavailable (nothing
    is claimed) when the node cannot say which block it is: from there on the transfer is looked for.
    """

    def draft() -> Draft:
        origin = _wallet(claim.caller, from_wallet_id)
        target, recipient = _to_address(to_address) if to_address else _to_wallet(claim.caller, to_wallet_id or "")
        if target["account"] == origin["_id"]:
            field = "to_address" if to_address else "to_wallet_id"
            raise InvalidRequest.field(field, "must not be the wallet that pays")
        path, body = protocol.transfer(_contract(), recipient, amount, holder=origin["email"])
        from getsmart import chain  # only here: a mint does without

        block = chain.head() if chain.is_configured() else None
        hold = origin["_id"]
        return Draft("transfer", amount, _party(origin), target, hold, path, body, reason, from_block=block)

    return place(claim, draft)


def burn(claim: Claim, *, wallet_id: str, amount: int, reason: str) -> Accepted:
    """Destroy `amount` base units of a linked wallet. Raises NotFound, and what `machine.claim.place` raises."""

    def draft() -> Draft:
        wallet = _wallet(claim.caller, wallet_id)
        path, body = protocol.burn(_contract(), wallet["email"], amount)
        return Draft("burn", amount, _party(wallet), {"account": BURNED}, wallet["_id"], path, body, reason)

    return place(claim, draft)


def _contract() -> str:
    return config.read(config.TokenSettings).contract_address


def _wallet(caller: Caller, wallet_id: str) -> WalletRow:
    wallet = wallets.find(wallet_id, None if caller.is_admin else caller.client_id)
    if wallet is None:
        raise NotFound(f"wallet {wallet_id}")
    if "erased_at" in wallet:
        raise InvalidState(f"wallet {wallet_id} is erased: nobody to name to MetaKeep")
    return wallet


def _party(wallet: WalletRow) -> Party:
    return {"account": wallet["_id"], "wallet_id": wallet["_id"], "address": wallet["address"]}


def _to_wallet(caller: Caller, wallet_id: str) -> tuple[Party, dict[str, str]]:
    wallet = _wallet(caller, wallet_id)
    return _party(wallet), protocol.to_person(wallet["email"])


def _to_address(address: str) -> tuple[Party, dict[str, str]]:
    """An outside address, or one of our wallets found by it; then its account is credited."""
    if config.read(config.TransferSettings).to_address != "on":
        raise InvalidRequest.field("to_address", "transfers to an address are not enabled here")
    token = config.read(config.TokenSettings)
    refused = {_ZERO_ADDRESS, token.contract_address.lower(), token.treasury_address.lower()}
    if address.lower() in refused:
        raise InvalidRequest.field("to_address", "must not be the zero address, the contract or the treasury")
    wallet = wallets.find_by_address(address)
    target: Party = {"account": EXTERNAL, "address": address.lower()}  # so it is found when it becomes a wallet
    if wallet is not None:
        # The wallet may be another client's: it is credited, and not shown.
        target = {"account": wallet["_id"], "address": wallet["address"]}
    return target, protocol.to_address(address)

"""MetaKeep's REST API without the network: build requests, decipher replies, translate the vendor's words.

Source: docs.metakeep.xyz/reference (coin mint, transfer, burn; v3 getWallet; transaction status; api-error-status).
Two request forms are inferred rather than documented, and live in one function each: the holder of a burn
(`from: {"email"}`) and a transfer to a bare address (`to: {"ethAddress"}`).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from getsmart.amounts import format_units
from getsmart.errors import ProviderRejected, ProviderUnavailable

STATUS_PATH = "/v2/app/transaction/status"
_HTTP_OK = 200
# The caller's fault or ours, for good. Anything else may pass: 401 and 403 once our credentials are mended.
_REFUSED = frozenset({400, 404, 405, 409, 413, 415, 422})
_NOT_PROCESSED = frozenset({401, 403, 429})

State = Literal["queued", "completed", "failed", "cancelled"]
_STATES: dict[str, State] = {
    "QUEUED": "queued",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}


class ProviderRequest(NamedTuple):
    """One POST: the path, the exact bytes, and the idempotency key where it changes state."""

    path: str
    body: bytes
    idempotency_key: str | None = None


class Submitted(NamedTuple):
    """MetaKeep accepted the transaction and will mine it."""

    metakeep_transaction_id: str
    tx_hash: str | None
    explorer_url: str | None


class ConsentNeeded(NamedTuple):
    """Nothing happens before the person approves; whoever holds the token can ask them, for ten minutes."""

    token: str

    def __repr__(self) -> str:
        """Without the token: this may be logged."""
        return "ConsentNeeded()"


class Transfer(NamedTuple):
    """One ERC-20 Transfer event: addresses in lower case, amount in base units."""

    contract: str
    sender: str
    recipient: str
    amount: int


class ProviderStatus(NamedTuple):
    """What MetaKeep says of a transaction; a state it does not document is None and never final."""

    state: State | None
    tx_hash: str | None
    explorer_url: str | None
    transfers: tuple[Transfer, ...]
    failure_reason: str | None


class ProviderOutage(ProviderUnavailable):
    """A passing failure that remembers whether the request may have taken effect."""

    def __init__(self, log_message: str, *, is_ambiguous: bool) -> None:
        super().__init__(log_message)
        self.is_ambiguous = is_ambiguous
        self.wait_seconds = 0.0

    def ask_to_wait(self, retry_after: str | None) -> None:
        """Keep the provider's Retry-After, where it is a whole number of seconds."""
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            self.wait_seconds = float(retry_after)


class ProviderRefusal(ProviderRejected):
    """A refusal for good that remembers whether an earlier try of the same request may have taken effect."""

    is_ambiguous = False


def _dump(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def idempotency_key(client_id: str, route: str, what: str | Mapping[str, str], row: int, attempt: int) -> str:
    """SHA-256 over who asked for what: a claim lost in a restore reaches MetaKeep under the same key.

    `what` is what the order is unique by: the caller's key, or the names of what is paid once under whatever key
    (docs/adr/0099).
    """
    return hashlib.sha256(_dump({"order": [client_id, route, what, row, attempt]})).hexdigest()


def get_wallet(email: str) -> ProviderRequest:
    """Fetch the wallet of a person, made on first use."""
    return ProviderRequest("/v3/getWallet", _dump({"user": {"email": email}}))


def get_developer_wallet() -> ProviderRequest:
    """Fetch the app's own wallet: the treasury."""
    return ProviderRequest("/v3/getDeveloperWallet", b"")


def get_status(metakeep_transaction_id: str) -> ProviderRequest:
    """Ask how a transaction stands."""
    return ProviderRequest(STATUS_PATH, _dump({"transactionId": metakeep_transaction_id}))


def mint(currency: str, email: str, units: int) -> tuple[str, bytes]:
    """Path and bytes of a mint; coin calls take whole tokens as a decimal string."""
    content = {"coin": {"currency": currency}, "to": {"email": email}, "amount": format_units(units)}
    return "/v2/app/coin/mint", _dump(content)


def transfer(currency: str, recipient: dict[str, str], units: int, *, holder: str | None = None) -> tuple[str, bytes]:
    """Path and bytes of a transfer to `to_person(...)` or `to_address(...)`.

    From the developer wallet, or from the person with the address `holder`, who is then asked for consent.
    """
    content: dict[str, Any] = {"coin": {"currency": currency}, "to": recipient, "amount": format_units(units)}
    if holder is not None:
        content["from"] = {"email": holder}
    return "/v2/app/coin/transfer", _dump(content)


def to_person(email: str) -> dict[str, str]:
    """A recipient named by e-mail address, as documented."""
    return {"email": email}


def to_address(address: str) -> dict[str, str]:
    """A recipient named by chain address: inferred from coin/balance and pay, not documented for coin/transfer."""
    return {"ethAddress": address}


def burn(currency: str, email: str, units: int) -> tuple[str, bytes]:
    """Path and bytes of a burn; that the holder is named `from` is inferred."""
    content = {"coin": {"currency": currency}, "from": {"email": email}, "amount": format_units(units)}
    return "/v2/app/coin/burn", _dump(content)


def decipher(http_status: int, raw: bytes) -> dict[str, Any]:
    """The JSON of a success; success is exactly 200.

    Raises ProviderRefusal where MetaKeep refused for good, ProviderUnavailable for everything that may pass; its
    `is_ambiguous` tells whether the request may have taken effect.
    """
    try:
        content = json.loads(raw)
    except ValueError:
        content = None
    vendor_status = str(content.get("status")) if isinstance(content, dict) else "none"
    if http_status == _HTTP_OK and isinstance(content, dict):
        return content
    facts = f"MetaKeep answered {http_status} {vendor_status[:60]}"
    if http_status in _REFUSED:
        raise ProviderRefusal(facts)
    raise ProviderOutage(facts, is_ambiguous=http_status not in _NOT_PROCESSED)


def _text(content: dict[str, Any], *names: str) -> str | None:
    return next((str(content[name]) for name in names if content.get(name)), None)


def _hash(content: dict[str, Any]) -> str | None:
    """The chain's id of the transaction, in lower case as the chain's node has it: ours are compared as texts."""
    found = _text(content, "transactionHash")
    return found.lower() if found else None


def read_wallet(content: dict[str, Any]) -> str:
    """The chain address in a wallet reply. Raises ProviderOutage when it has none."""
    wallet = content.get("wallet")
    address = wallet.get("ethAddress") if isinstance(wallet, dict) else None
    if not isinstance(address, str) or not address.startswith("0x"):
        raise ProviderOutage("MetaKeep's wallet reply has no ethAddress", is_ambiguous=False)
    return address


def read_submission(content: dict[str, Any]) -> Submitted | ConsentNeeded:
    """The reply to a mint, transfer or burn. Raises ProviderOutage (ambiguous) when it has neither id nor token."""
    transaction_id, token = _text(content, "transactionId"), _text(content, "consentToken")
    if content.get("status") == "USER_CONSENT_NEEDED" and token is not None:
        return ConsentNeeded(token)
    if content.get("status") != "QUEUED" or transaction_id is None:
        raise ProviderOutage(f"MetaKeep answered {str(content.get('status'))[:60]} to a transaction", is_ambiguous=True)
    # Older pages call the link transactionUrl.
    link = _text(content, "transactionChainScanUrl", "transactionUrl")
    return Submitted(transaction_id, _hash(content), link)


def read_status(content: dict[str, Any]) -> ProviderStatus:
    """The reply of the status endpoint; events that are no ERC-20 Transfer are left out."""
    events = content.get("events") or []
    transfers = tuple(found for found in map(_read_transfer, events) if found)
    return ProviderStatus(
        state=_STATES.get(str(content.get("status"))),
        tx_hash=_hash(content),
        explorer_url=_text(content, "transactionChainScanUrl", "transactionUrl"),
        transfers=transfers,
        failure_reason=_text(content, "failureReason"),
    )


def _read_transfer(event: Any) -> Transfer | None:
    """Arguments are named as in the contract's ABI; the three names in use are read."""
    try:
        arguments = event["args"]
        if event["name"] != "Transfer":
            return None
        sender = next(arguments[name] for name in ("from", "_from", "owner", "sender") if name in arguments)
        recipient = next(arguments[name] for name in ("to", "_to", "receiver") if name in arguments)
        amount = int(next(arguments[name] for name in ("value", "_value", "amount") if name in arguments))
        return Transfer(str(event["lambda"]).lower(), str(sender).lower(), str(recipient).lower(), amount)
    except (KeyError, TypeError, ValueError, StopIteration):
        return None

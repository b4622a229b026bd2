"""`./doit resolve TRANSACTION --to STATE --evidence ...`: end what nobody but a person can tell, on evidence alone.

Evidence is one of
  tx_hash=0x...      the chain's transaction: read from the chain here; confirms, or shows that it was reverted
  provider[=ID]      MetaKeep's status, asked for here; ID names its transaction where ours has none yet
  statement=TEXT     what a person has found out; ends a transaction without effect, and never confirms one

Who decided, when and on what is written into the transaction. Exit 0, or 1 with the reason why not.
"""

import argparse
import getpass
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pymongo.errors import DuplicateKeyError, PyMongoError

from getsmart import chain, clock
from getsmart.errors import GetSmartError, ProviderRejected
from getsmart.ids import new_id
from getsmart.machine import settle
from getsmart.machine.conclude import confirm, end_without_effect
from getsmart.machine.consent import MINING
from getsmart.machine.send import HORIZON
from getsmart.machine.wanted import expected
from getsmart.metakeep import client, protocol
from getsmart.models import MOVES, AuditLine, TransactionRow, changed_by
from getsmart.stores import breaks, transactions
from ops import settings

To = Literal["confirmed", "failed", "cancelled", "submitted"]
TARGETS: tuple[To, ...] = ("confirmed", "failed", "cancelled", "submitted")
_CALL_SECONDS = 8.0


class Refused(Exception):
    """The evidence does not bear it out; the sentence says why."""


class Evidence(NamedTuple):
    """What was put forward, by whom."""

    kind: str
    value: str
    who: str

    def line(self) -> AuditLine:
        """The audit line that goes into the transaction."""
        said = f"{self.kind}={self.value}" if self.value else self.kind
        line: AuditLine = {"key_id": "operator", "source": "terminal", "request_id": new_id("req"), "at": clock.now()}
        return {**line, "what": "resolve", "who": self.who, "evidence": said}


def main(arguments: Sequence[str]) -> int:
    """Resolve one transaction."""
    options = _parser().parse_args(arguments)
    settings.use(options.env)
    settings.say()
    try:
        kind, _, value = options.evidence.partition("=")
        row = resolve(options.transaction_id, options.to, Evidence(kind, value.strip(), options.who))
    except (Refused, GetSmartError, PyMongoError) as error:
        print(f"resolve: {error}", file=sys.stderr)
        return 1
    print(f"{row['_id']} is {row['status']}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./doit resolve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("transaction_id", metavar="TRANSACTION")
    parser.add_argument("--to", required=True, choices=TARGETS)
    parser.add_argument("--evidence", required=True, metavar="KIND[=VALUE]")
    parser.add_argument("--who", default=getpass.getuser(), help="who decides (default: this system's user)")
    settings.option(parser)
    return parser


def resolve(transaction_id: str, to: To, evidence: Evidence) -> TransactionRow:
    """Move an unknown transaction where the evidence says; the row as it stands then. Raises Refused."""
    row = transactions.find(transaction_id, None)
    if row is None:
        raise Refused(f"there is no transaction {transaction_id}")
    if not _is_nobodys(row) or to not in MOVES[row["status"]]:
        raise Refused(f"{transaction_id} is {row['status']}: only what is unknown is resolved")
    by = {"tx_hash": _by_chain, "provider": _by_provider, "statement": _by_statement}.get(evidence.kind)
    if by is None:
        raise Refused("evidence is tx_hash=0x..., provider, provider=ID or statement=TEXT")
    moved = by(row, to, evidence)
    if moved is None:
        raise Refused(f"{transaction_id} moved in this moment; look again")
    return moved


def _is_nobodys(row: TransactionRow) -> bool:
    """Whether it moves no more by itself: unknown, or kept from expiring as a restore may have taken its Transfer."""
    is_over = row["status"] == "awaiting_consent" and clock.now() > row["consent_expires_at"] + MINING
    return row["status"] == "unknown" or is_over


def _by_chain(row: TransactionRow, to: To, evidence: Evidence) -> TransactionRow | None:
    """A receipt, read here: it confirms with this very Transfer, and fails what is known by its hash and reverted."""
    if not chain.is_configured():
        raise Refused("CHAIN_RPC_URL names no node that could be asked")
    tx_hash = evidence.value.lower()
    if not re.fullmatch(r"0x[0-9a-f]{64}", tx_hash):
        raise Refused("that is no transaction's hash")
    if to == "confirmed":
        witnessed = settle.witness(row, tx_hash)
        if not isinstance(witnessed, dict):
            raise Refused(witnessed or "the chain has no such transaction, or not deep enough yet")
        return _confirm(row, {"tx_hash": tx_hash, **witnessed}, evidence)
    head, receipt = chain.head(), chain.receipt(tx_hash)
    if to != "failed" or receipt is None or receipt.is_success:
        raise Refused("a transaction of the chain confirms, or shows that it was reverted; this one does not")
    if row.get("tx_hash") != tx_hash:
        raise Refused("that reverted transaction is not known to be this one's")
    if not settle.is_deep(receipt, head):
        raise Refused("it is not deep enough yet: its block may still be reorganised")
    failure = {"code": "execution_reverted", "message": "The transaction was mined and reverted."}
    return end_without_effect(row, "failed", failure, evidence.line())


def _confirm(row: TransactionRow, facts: dict[str, Any], evidence: Evidence) -> TransactionRow | None:
    try:
        return confirm(row, {**facts, **changed_by(row, evidence.line())}, None)
    except DuplicateKeyError:
        raise Refused("this Transfer has settled another transaction") from None


def _by_provider(row: TransactionRow, to: To, evidence: Evidence) -> TransactionRow | None:
    """MetaKeep's status, asked for here."""
    known = row.get("metakeep_transaction_id")
    its_id = evidence.value or known
    if not its_id or (known and its_id != known):
        raise Refused(f"MetaKeep's id of this transaction is {known or 'not known: name it, provider=ID'}")
    if known is None and transactions.find_by_metakeep_id(its_id) is not None:
        raise Refused("this id is another transaction's")
    try:
        status = protocol.read_status(client.call(protocol.get_status(its_id), seconds=_CALL_SECONDS))
    except ProviderRejected as error:
        raise Refused(f"MetaKeep does not know {its_id}: {error}") from None
    if status.state is None:
        raise Refused("MetaKeep says nothing that counts")
    if to == "submitted":
        return _submit(row, its_id, status, evidence)
    meaning = {"completed": "confirmed", "failed": "failed", "cancelled": "cancelled"}.get(status.state)
    if meaning != to:
        raise Refused(f"MetaKeep says {status.state}")
    if to == "confirmed":
        return _confirm_shown(row, its_id, status, evidence)
    return _end_as_told(row, status, evidence)


def _end_as_told(row: TransactionRow, status: protocol.ProviderStatus, evidence: Evidence) -> TransactionRow | None:
    """Failed or cancelled, as MetaKeep says, where the chain bears it out."""
    if settle.on_no_effect(row, status) != "agreed":
        raise Refused(f"MetaKeep says {status.state}, and the chain does not bear it out, or not deep enough yet")
    to: Literal["failed", "cancelled"] = "failed" if status.state == "failed" else "cancelled"
    failure = {"code": f"provider_{to}", "message": f"The wallet provider says that the transaction {status.state}."}
    return end_without_effect(row, to, failure, evidence.line())


def _submit(
    row: TransactionRow, its_id: str, status: protocol.ProviderStatus, evidence: Evidence
) -> TransactionRow | None:
    """Have it polled again under MetaKeep's id; one that is completed already has to show this very Transfer."""
    if status.state == "completed" and expected(row) not in status.transfers:
        raise Refused("what MetaKeep shows under this id is another transfer")
    if status.state in ("failed", "cancelled"):
        raise Refused(f"MetaKeep says {status.state}")
    at = clock.now()
    changes = {
        "metakeep_transaction_id": its_id,
        "tx_hash": status.tx_hash,
        "explorer_url": status.explorer_url,
        "submitted_at": at,
        "due_at": at,
        **changed_by(row, evidence.line()),
    }
    try:
        return transactions.move(row, "submitted", changes)
    except DuplicateKeyError:
        raise Refused("this id has just become another transaction's") from None


def _confirm_shown(
    row: TransactionRow, its_id: str, status: protocol.ProviderStatus, evidence: Evidence
) -> TransactionRow | None:
    if expected(row) not in status.transfers or status.tx_hash is None:
        raise Refused("what MetaKeep shows is another transfer")
    facts: dict[str, Any] = {"tx_hash": status.tx_hash, "metakeep_transaction_id": its_id}
    facts["settlement"] = {"tx_hash": status.tx_hash, "log_index": None}
    if chain.is_configured():
        witnessed = settle.witness(row, status.tx_hash)
        if not isinstance(witnessed, dict):
            raise Refused(witnessed or "the chain has no such transaction, or not deep enough yet")
        facts |= witnessed
    return _confirm(row, facts, evidence)


def _by_statement(row: TransactionRow, to: To, evidence: Evidence) -> TransactionRow | None:
    """A person vouches for an absence; what can be asked has to agree, and a sending has to be long over."""
    if to not in ("failed", "cancelled"):
        raise Refused("a statement never confirms or submits: name a tx_hash, or ask the provider")
    if not evidence.value:
        raise Refused("statement=TEXT has to say what was found out")
    if clock.now() - row.get("send_started_at", row["created_at"]) <= HORIZON:
        raise Refused("it may still be sent again: wait until 15 minutes have passed")
    _refuse_what_is_seen(row)
    wanted = expected(row)
    sides = (wanted.sender, wanted.recipient, str(wanted.amount))
    like_it = [*breaks.find_equal_sightings(*sides), *breaks.find_equal(*sides, row["created_at"])]
    if like_it:
        raise Refused(f"the chain has a Transfer like it that is nobody's: {like_it[0]['tx_hash']}")
    failure = {"code": "resolved_by_operator", "message": "It was found out that the transaction had no effect."}
    return end_without_effect(row, "failed" if to == "failed" else "cancelled", failure, evidence.line())


def _refuse_what_is_seen(row: TransactionRow) -> None:
    """Raises Refused where MetaKeep, or the chain under a hash that is known, says that there may be an effect."""
    hashes = {row["tx_hash"]} if "tx_hash" in row else set()
    if "metakeep_transaction_id" in row:
        request = protocol.get_status(row["metakeep_transaction_id"])
        status = protocol.read_status(client.call(request, seconds=_CALL_SECONDS))
        if status.state in ("queued", "completed"):
            raise Refused(f"MetaKeep says {status.state}")
        hashes |= {status.tx_hash} if status.tx_hash else set()
    found = [chain.receipt(one) for one in sorted(hashes)] if chain.is_configured() else []
    if any(receipt is not None and receipt.is_success for receipt in found):
        raise Refused("the chain has it, mined and with effect: name its hash, tx_hash=0x...")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`./doit reconcile`: compare the chain with the books up to its head, and tell what does not agree.

Without options it goes on where the tick stands. `--from BLOCK` reads from that block again, `--to` ends there; reading
a block twice changes nothing. `--report` only tells what is open. `--close BREAK ...` closes breaks that a person has
dealt with, each that can be. Exit 0 when nothing is open, 1 when something is, 2 when it could not be told or closed.
"""

import argparse
import getpass
import sys
from collections.abc import Callable, Sequence

from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tenacity import RetryCallState, RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from getsmart import chain, clock
from getsmart.amounts import format_units
from getsmart.breaks import BREAK_TYPES, BreakRow
from getsmart.errors import GetSmartError
from getsmart.machine import reconcile
from getsmart.stores import breaks, controls, progress
from ops import settings

OPEN, UNTOLD = 1, 2
_DUE = {"stand": "booked", "fall": "undone in the books"}
_MOST_SHOWN = 50
_PAUSE_SECONDS, _WAIT_SECONDS = 0.5, 60.0  # while the tick is at it
_SECONDS = 5.0

WHAT_TO_DO = {
    "ambiguous": "decide whose it is: ./doit resolve TRANSACTION --to confirmed --evidence tx_hash=HASH",
    "missing_in_ledger": "find out who moved it; booked against `external` until its transaction is known",
    "missing_on_chain": "the books say confirmed, the chain has nothing: check the node, then MetaKeep",
    "amount_mismatch": "the chain's amount is not the ledger's: check who changed either",
    "party_mismatch": "the chain's parties are not the ledger's: check who changed either",
    "reorged": "booked back; it is booked again by itself if it is mined again",
}


def main(arguments: Sequence[str]) -> int:
    """Run it; the exit code says whether anything is open."""
    options = _parser().parse_args(arguments)
    settings.use(options.env)
    try:
        if not options.report:
            settings.say()
        if options.close:
            return _close(options.close, options.who or getpass.getuser(), options.why)
        if not options.report:
            _catch_up(options.first, options.last, is_quiet=options.quiet)
        return report(Console())
    except (GetSmartError, PyMongoError, ValueError) as error:
        print(f"reconcile: {error}", file=sys.stderr)
        return UNTOLD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./doit reconcile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="first", type=int, metavar="BLOCK", help="read from this block on, again")
    parser.add_argument("--to", dest="last", type=int, metavar="BLOCK", help="end with this block")
    parser.add_argument("--report", action="store_true", help="compare nothing, only tell what is open")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--close", nargs="+", metavar="BREAK", help="close these breaks; needs --why")
    parser.add_argument("--who", help="who closes it (default: this system's user)")
    parser.add_argument("--why", default="", help="what was found out and done")
    settings.option(parser)
    return parser


def _catch_up(first: int | None, last: int | None, *, is_quiet: bool) -> None:
    if not chain.is_configured():
        raise ValueError("CHAIN_RPC_URL names no node: there is nothing to compare with")
    if first is not None:
        _patiently(lambda: reconcile.go_back(first))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=is_quiet) as bar:
        task = bar.add_task("blocks", total=None)

        def tell(block: int, target: int) -> None:
            bar.update(task, completed=block, total=target)

        is_at_head = False

        def read() -> bool:
            """Whether it has come on."""
            nonlocal is_at_head
            done = reconcile.run(_SECONDS, tell=tell, last=last)
            is_at_head = done.is_at_head
            return is_at_head or done.blocks > 0

        while not is_at_head:
            _patiently(read)


def _patiently(work: Callable[[], bool]) -> None:
    """Try again while the tick is at it, a minute long. Raises ValueError."""
    waiting = Retrying(
        retry=retry_if_result(lambda is_done: not is_done),
        wait=wait_fixed(_PAUSE_SECONDS),
        stop=stop_after_delay(_WAIT_SECONDS),
        before_sleep=_say_once,
    )
    try:
        waiting(work)
    except RetryError:
        raise ValueError(
            f"somebody else has been reading the chain for {_WAIT_SECONDS:g} s, or it moves too fast"
        ) from None


def _say_once(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        print("reconcile: the tick is reading the chain just now; waiting", file=sys.stderr, flush=True)


def report(console: Console) -> int:
    """Print how far the books are compared and every open break, as a person reads it; 1 when any is open."""
    place = controls.read_all().get(progress.NAME, {})
    console.print(f"Reconciled to block {place.get('to_block', '-')} of {place.get('head', '-')}.")
    genesis = place.get("genesis")
    where = f"matched in block {genesis['block_number']}" if genesis else "not seen: TOKEN_FIRST_BLOCK is behind it"
    console.print(f"Genesis: {where}.")
    counts = breaks.count_open(10_000)
    waiting = [row for row in breaks.find_due(10_000) if row["status"] == "resolved"]
    if waiting:
        console.print(f"\n[bold]{len(waiting)} closed[/bold]: a wallet has come whose they are; still to be booked")
        for row in waiting[:_MOST_SHOWN]:
            console.print(describe(row), soft_wrap=True, highlight=False)
    if not counts:
        console.print("No open breaks.")
        return 0
    for type_ in BREAK_TYPES:
        if type_ in counts:
            console.print(f"\n[bold]{counts[type_]} {type_}[/bold]: {WHAT_TO_DO[type_]}")
            for row in breaks.find_open(_MOST_SHOWN, only=type_):
                console.print(describe(row), soft_wrap=True, highlight=False)
            if counts[type_] > _MOST_SHOWN:
                console.print(f"  ... and {counts[type_] - _MOST_SHOWN} more")
    return OPEN


def describe(row: BreakRow) -> str:
    """One break as two or three lines."""
    lines = [f"  {row['_id']}  since {clock.to_wire(row['first_seen'])}  block {row.get('block_number', '-')}"]
    if "tx_hash" in row:
        lines.append(f"    {row['tx_hash']} log {row.get('log_index', '-')}")
    for name in ("expected", "found"):
        if name in row:
            sides = row[name]
            amount = format_units(int(sides["amount"]))
            lines.append(f"    {name}: {amount} GETS from {sides['sender']} to {sides['recipient']}")
    about = [row["transaction_id"]] if "transaction_id" in row else row.get("candidates", [])
    if about:
        lines.append(f"    transactions: {', '.join(about)}")
    if row["standing"]:
        lines.append("    booked: " + ", ".join(f"{origin} -> {target}" for origin, target in row["standing"]))
    if "due" in row:
        lines.append("    still to be booked: an account does not hold enough, or a transaction may still claim it")
    return "\n".join(lines)


def _close(break_ids: Sequence[str], who: str, why: str) -> int:
    """Close each that can be; UNTOLD where one can't, and why on stderr."""
    if not why.strip():
        raise ValueError("--why has to say what was found out and done")
    ended = 0
    for break_id in break_ids:
        try:
            _close_one(break_id, who, why)
        except ValueError as error:
            print(f"reconcile: {error}", file=sys.stderr)
            ended = UNTOLD
    return ended


def _close_one(break_id: str, who: str, why: str) -> None:
    row = breaks.find(break_id)
    if row is None or row["status"] != "open":
        raise ValueError(f"there is no open break {break_id}")
    if "due" in row:
        raise ValueError(f"{break_id} still has to be {_DUE[row['due']]}: closed now, the books would stay wrong")
    resolution = {"who": who, "why": why, "at": clock.now()}
    if breaks.change(row, {"status": "resolved", "resolution": resolution}) is None:
        raise ValueError(f"{break_id} changed in this moment; look again")
    print(f"{break_id} is closed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The commands of docs/reconciliation.md, on what they are told for."""

import re
import shlex
from collections.abc import Callable

import pytest

from getsmart.services import tick
from ops import reconcile, resolve, verify
from tests.chainbook import ZERO, found, on_chain, reconciled, unknown_row
from tests.lib.machine.test_restore import key as key  # noqa: PLC0414 - the fixture
from tests.lib.machine.test_restore import shadowed as shadowed  # noqa: PLC0414 - the fixture
from tests.money import Bench
from tests.support import ROOT

PROGRAMS = {"reconcile": reconcile.main, "resolve": resolve.main, "verify": verify.main}


def commands(section: str) -> list[list[list[str]]]:
    """The commands of a section: for each of its blocks the words behind `./doit` of each line."""
    page = (ROOT / "docs/reconciliation.md").read_text()
    _, text = re.split(rf"^#+ {re.escape(section)}.*$", page, maxsplit=1, flags=re.MULTILINE)
    blocks = re.findall(r"^```sh\n(.*?)^```", re.split(r"^##+ ", text, flags=re.MULTILINE)[0], re.MULTILINE | re.DOTALL)
    lines = [[shlex.split(line, comments=True) for line in block.splitlines()] for block in blocks]
    return [[words[1:] for words in block if words] for block in lines]


def run(words: list[str], **names: str) -> int:
    """Run one, with real names in the place of the document's; its exit code."""
    real = {"txn_...": names.get("row", ""), "0x...": names.get("tx_hash", ""), "brk_...": names.get("of", "")}
    filled = [re.sub(r"txn_\.{3}|0x\.{3}|brk_\.{3}", lambda found: real[found[0]], word) for word in words[1:]]
    return PROGRAMS[words[0]](filled)


def test_each_line_of_resolve_is_taken() -> None:
    """Four kinds of evidence, with options that the command knows."""
    (block,) = commands("Ending what nobody knows")
    kinds = [resolve._parser().parse_args(words[1:]).evidence.partition("=")[0] for words in block]
    assert kinds == ["tx_hash", "provider", "provider", "statement"]


def test_what_nobody_knows_is_ended_as_it_is_told(bench: Bench) -> None:
    """The chain has one of two: confirmed by its hash; the other by a statement."""
    bench.catch_up()
    (block,) = commands("Ending what nobody knows")
    rows = [unknown_row(bench), unknown_row(bench)]
    bench.time.advance(16 * 60)
    (mined,) = on_chain(bench, (ZERO, bench.wallet["address"], 10**18))
    assert run(block[0], row=rows[0]["_id"], tx_hash=mined["tx_hash"]) == 0
    assert run(block[3], row=rows[1]["_id"]) == 0
    assert [bench.status(row["_id"]) for row in rows] == ["confirmed", "failed"]
    bench.audit()


def test_the_commands_at_its_top(bench: Bench) -> None:
    """Nothing is open: 0; a block read again is harmless; a break is closed with a reason."""
    bench.catch_up()
    (block,) = commands("Reconciliation")
    ends = {tuple(words): run(words, of="brk_none") for words in block if "--from" not in words}
    assert [end for words, end in ends.items() if "--close" not in words] == [0, 0, 0]
    (again,) = [words for words in block if "--from" in words]
    reconcile._parser().parse_args(again[1:])
    on_chain(bench, (ZERO, bench.wallet["address"], 7))
    reconciled()
    (foreign,) = found(bench)["missing_in_ledger"]
    (close,) = [words for words in block if "--close" in words]
    assert run(["reconcile", "--report"]) == reconcile.OPEN
    assert run(close, of=foreign["_id"]) == 0
    assert run(["reconcile", "--report"]) == 0


@pytest.mark.parametrize("is_repeated", [True, False], ids=["the lost call", "a new order"])
def test_what_is_held_back_is_ended_as_it_is_told(
    shadowed: Bench, key: Callable[[str], str], capsys: pytest.CaptureFixture[str], is_repeated: bool
) -> None:
    """The lost call gets its Transfer, and nothing is minted; a new order ends unsent and is made under another key."""
    repeated, new = commands("Held back")
    answer = shadowed.mint("3", key=key("lost" if is_repeated else "new"))
    assert (answer.status, answer.data["status"]) == (202, "unknown")
    (booked,) = found(shadowed)["missing_in_ledger"]
    names = {"row": answer.data["transaction_id"], "tx_hash": booked["tx_hash"], "of": booked["_id"]}
    shadowed.time.advance(16 * 60)
    report, *ending = [repeated[0], *(repeated[1:] if is_repeated else new)]
    assert run(report) == reconcile.OPEN
    assert names["row"] in capsys.readouterr().out
    assert [run(words, **names) for words in ending] == [0] * len(ending)
    shadowed.time.advance(61)
    tick.run()
    assert found(shadowed) == {}
    if not is_repeated:
        assert shadowed.mint("3", key=key("ordered-anew")).data["status"] == "submitted"
        shadowed.settle()
    assert shadowed.logs() == (1 if is_repeated else 2)
    assert shadowed.balance()["posted"] == ("3" if is_repeated else "6")
    shadowed.audit_of_books()

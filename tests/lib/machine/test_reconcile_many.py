"""Breaks of every type hidden among clean transactions: each is found as what it is, and nothing is guessed."""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from time import perf_counter

import pytest

from getsmart.mongo import to_units
from getsmart.services import tick
from ops.verification import verify
from tests.chainbook import OUTSIDE, ZERO, Seeder, confirmed_row, found, on_chain, reconciled, unknown_row
from tests.money import Bench, Row

REORG = 60  # blocks in one reorganisation
# For each six breaks: one of these, by turns. A group of look-alikes has (rows, Transfers).
LOOK_ALIKES = ((2, 1), (1, 2), (2, 2))


@dataclass
class Expected:
    """What reconciliation has to say, by type: the hash, or the transaction, that each break is about."""

    breaks: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    pairs: dict[str, str] = field(default_factory=dict)  # transaction -> the Transfer that is its own
    doubtful: list[str] = field(default_factory=list)  # transactions that nobody may decide about


@dataclass
class Injection:
    """Orders for the chain, and what the books say about each once it is mined."""

    bench: Bench
    wallets: list[Row]
    chance: random.Random
    seeder: Seeder
    expected: Expected = field(default_factory=Expected)
    plan: list[tuple[str, Row, int, object]] = field(default_factory=list)  # (what, wallet, units, about)
    _units: int = 10**15

    def amount(self) -> int:
        """One that nothing else has."""
        self._units += 1
        return self._units

    def inject(self, count: int) -> None:
        """Plan so many breaks of each type but `reorged`, and as many pairs that are no break."""
        for number in range(count):
            for what in ("missing_in_ledger", "missing_on_chain", "amount_mismatch", "party_mismatch"):
                self.plan.append((what, self.chance.choice(self.wallets), self.amount(), None))
            self._look_alikes(*LOOK_ALIKES[number % 3])
            self._pair()

    def _look_alikes(self, rows: int, transfers: int) -> None:
        wallet, units = self.chance.choice(self.wallets), self.amount()
        self.expected.doubtful += [self._lost(wallet, units) for _ in range(rows)]
        self.plan += [("ambiguous", wallet, units, None)] * transfers

    def _pair(self) -> None:
        wallet, units = self.chance.choice(self.wallets), self.amount()
        self.plan.append(("pair", wallet, units, self._lost(wallet, units)))

    def _lost(self, wallet: Row, units: int) -> str:
        """A mint that was sent and never heard of again."""
        target = {"account": wallet["wallet_id"], "wallet_id": wallet["wallet_id"], "address": wallet["address"]}
        row = unknown_row(self.bench, units, target=target, incoming_wallet_id=wallet["wallet_id"])
        return str(row["_id"])

    def mine(self) -> None:
        """Put all of it on the chain in random order, and into the books what they say about it."""
        self.chance.shuffle(self.plan)
        orders = [(ZERO, wallet["address"], units) for _, wallet, units, _ in self.plan]
        for (what, wallet, units, about), mined in zip(self.plan, on_chain(self.bench, *orders), strict=True):
            self._note(what, wallet, units, about, mined)
        self.seeder.write()

    def _note(self, what: str, wallet: Row, units: int, about: object, mined: Row) -> None:
        says = self.expected.breaks
        if what == "clean":
            self.seeder.add(wallet, mined, units)
        elif what == "pair":
            self.expected.pairs[str(about)] = mined["tx_hash"]
        elif what in ("missing_in_ledger", "ambiguous"):
            says[what].add(mined["tx_hash"])
        elif what == "missing_on_chain":
            says["missing_in_ledger"].add(mined["tx_hash"])  # which its row says has another hash
            says[what].add(self.seeder.add(wallet, {**mined, "tx_hash": f"0x{units:064x}"}, units))
        elif what == "amount_mismatch":
            says[what].add(self.seeder.add(wallet, mined, units + 10**12))
        else:
            other = self.wallets[self.wallets.index(wallet) - 1]
            says[what].add(self.seeder.add(other, mined, units))


def said(bench: Bench) -> dict[str, set[str]]:
    """The open breaks as `Expected` has them."""
    by_hash = {"missing_in_ledger", "ambiguous"}
    return {
        type_: {str(row["tx_hash"] if type_ in by_hash else row["transaction_id"]) for row in rows}
        for type_, rows in found(bench).items()
    }


def reorganise(bench: Bench, wallet: Row, count: int) -> list[str]:
    """Mints that are confirmed and reconciled, and then reorganised away, up to 60 at once; their ids."""
    gone: list[str] = []
    while len(gone) < count:
        some = min(REORG, count - len(gone))
        mined = on_chain(bench, *[(ZERO, wallet["address"], 5)] * some)
        seeder = Seeder(bench)
        ids = [seeder.add(wallet, one, 5) for one in mined]
        seeder.write()
        reconciled()
        bench.provider.private("reorg", depth=some)
        reconciled()
        gone += ids
    return gone


@pytest.mark.parametrize(
    ("clean", "each"),
    [
        pytest.param(500, 10, id="60 among 500"),
        pytest.param(100_000, 170, id="1,000 among 100,000", marks=(pytest.mark.long, pytest.mark.timeout(3_000))),
    ],
)
def test_every_break_is_found_as_what_it_is(bench: Bench, clean: int, each: int) -> None:
    """All types, with look-alikes, among clean ones: no break too many or too few, and balances are the chain's."""
    injection = hidden_among(bench, clean, each)
    expected = injection.expected
    started = perf_counter()
    done = reconciled()
    for _ in range(2 + each // 25):  # what is undecided is looked at by the hundred, each minute
        bench.time.advance(61)
        reconciled()
    seconds = perf_counter() - started
    assert said(bench) == expected.breaks
    _pairs_and_doubts(bench, expected)
    gone = reorganise(bench, bench.wallet, each)
    assert said(bench) == {**expected.breaks, "reorged": set(gone)}
    while tick.run()["summed"]:
        pass
    assert not list(verify(lambda _name, _number: None))
    total = sum(len(rows) for rows in said(bench).values())
    print(f"{total} breaks, {len(expected.pairs)} pairs, {done.transfers} Transfers in {seconds:.1f} s")  # noqa: T201


def hidden_among(bench: Bench, clean: int, each: int) -> Injection:
    """So many breaks of each type among so many clean transactions, in random order, on the chain and in the books."""
    bench.catch_up()
    chance = random.Random(clean)
    wallets = [bench.new_wallet() for _ in range(8)]
    injection = Injection(bench, wallets, chance, Seeder(bench))
    injection.plan += [("clean", chance.choice(wallets), chance.randint(1, 10**18), None) for _ in range(clean)]
    injection.inject(each)
    injection.mine()
    bench.time.advance(16 * 60)
    return injection


def _pairs_and_doubts(bench: Bench, expected: Expected) -> None:
    """One candidate and one Transfer are each other's; nobody decided about the rest."""
    for row_id, tx_hash in expected.pairs.items():
        row = bench.row(row_id)
        assert (row["status"], row["tx_hash"]) == ("confirmed", tx_hash)
    assert {bench.status(row_id) for row_id in expected.doubtful} == {"unknown"}


@pytest.mark.long
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("is_dropped", [True, False])
def test_reorganisations_of_every_depth(bench: Bench, is_dropped: bool) -> None:
    """1 to 64 blocks under what was reconciled, with and without the loss of every other transaction."""
    bench.catch_up()
    lost = alive = 0
    for depth in range(1, 65):
        mined = on_chain(bench, *[(ZERO, bench.wallet["address"], 7)] * depth)
        for one in mined:
            confirmed_row(bench, one, 7)
        reconciled()
        dropped = [one["tx_hash"] for one in mined[::2]] if is_dropped else []
        bench.provider.private("reorg", depth=depth, drop=dropped)
        reconciled()
        lost, alive = lost + len(dropped), alive + depth - len(dropped)
        account = bench.raw.accounts.find_one({"_id": bench.wallet["wallet_id"]})
        assert account is None or bench.on_chain() == to_units(account["posted"]) == alive * 7, depth
        assert {type_: len(rows) for type_, rows in found(bench).items()} == ({"reorged": lost} if lost else {}), depth
    tick.run()
    assert not list(verify(lambda _name, _number: None))


def test_a_reorganisation_deeper_than_what_is_remembered(bench: Bench) -> None:
    """No block that is remembered is on the chain any more: all is read again, and only what is gone is booked back."""
    bench.catch_up()
    mined = on_chain(bench, *[(ZERO, bench.wallet["address"], 7)] * 5)
    for one in mined:
        confirmed_row(bench, one, 7)
    reconciled()
    bench.raw.blocks.delete_many({"number": {"$lt": mined[2]["block_number"]}})
    bench.provider.private("reorg", depth=3, drop=[mined[3]["tx_hash"]])
    done = reconciled()
    assert (done.blocks, done.transfers) == (5, 4)
    assert {type_: len(rows) for type_, rows in found(bench).items()} == {"reorged": 1}
    assert bench.on_chain() == 4 * 7
    tick.run()
    assert not list(verify(lambda _name, _number: None))


def test_outside_is_never_ours(bench: Bench) -> None:
    """What strangers do among themselves has its break and needs nobody."""
    bench.catch_up()
    on_chain(bench, (ZERO, OUTSIDE, 50), *[(OUTSIDE, "0x" + "77" * 20, 1)] * 50)
    reconciled()
    assert len(found(bench)["missing_in_ledger"]) == 1
    assert len(found(bench, "resolved")["missing_in_ledger"]) == 50

"""What a benchmark makes of its samples, and how it tells them."""

from pathlib import Path

import pytest

from local.bench import __main__ as bench
from local.bench import cold, report, throughput
from local.bench.measure import Row, Section, Series, best_of, compared, interleaved, ratios


def test_samples_are_taken_in_turn_and_the_first_round_counts_for_nothing() -> None:
    """A machine that slows down slows all of them."""
    turns: list[str] = []
    times = iter(range(1, 100))

    def timer(name: str) -> float:
        turns.append(name)
        return float(next(times))

    samples = interleaved({"a": lambda: timer("a"), "b": lambda: timer("b")}, 2)
    assert turns == ["a", "b"] * 3
    assert samples == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """One round in which the machine was busy moves it little."""
    assert ratios([2.0, 4.0, 600.0], [1.0, 2.0, 3.0])[0] == 2.0
    assert ratios([3.0], [2.0]) == (1.5, (1.5, 1.5))


def test_the_best_of_several_is_the_shortest() -> None:
    """What disturbs only adds."""
    times = iter([3.0, 1.0, 2.0])
    assert best_of(3, lambda: next(times))() == 1.0


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (Row("a", "", 1.2, must=1.3), True),
        (Row("a", "", 1.4, must=1.3), False),
        (Row("a", "", 0.9, must=0.85, more_is_better=True), True),
        (Row("a", "", 0.8, must=0.85, more_is_better=True), False),
        (Row("a", "", 1.2), None),
        (Row("a", "", None, must=1.0), None),
    ],
)
def test_a_must_holds_or_not(row: Row, holds: bool | None) -> None:
    """An upper limit, or a lower one where more is better."""
    assert row.holds is holds


def test_progress_that_cannot_be_shown_in_place_is_a_line_now_and_then() -> None:
    """A log of a long run has some lines, not thousands."""
    said: list[str] = []
    lines = bench.Lines(said.append)
    progress = bench.Progress("growth", lines)
    for number in range(3):
        progress.tell(f"{number}")
    lines.every_seconds = 0.0
    lines._next = 0.0
    progress()
    assert said == ["measuring: growth, 0", "measuring: growth, 1"]


def test_the_page_has_the_figures_and_their_plots(tmp_path: Path) -> None:
    """A box for samples, a line for growth, nothing that is fetched, and text that stays text."""
    row = compared("reads <b>", [0.012, 0.013, 0.014], [0.010, 0.010, 0.010], "x bare", (1.25, 1.10))
    sections = [
        Section("Warm", [row], {"read": [0.012, 0.013, 0.014]}),
        Section("Growth", [], series=[Series("balance", ((1_000.0, 1.0), (10_000.0, 1.1)))], axes=("rows", "ms")),
    ]
    file = tmp_path / "deep" / "bench.html"
    report.write(sections, file)
    page = file.read_text()
    assert "reads &lt;b&gt;" in page
    assert '<td class="no">1.30</td>' in page
    assert page.count("<svg") == 2
    assert "src=" not in page  # an inline script of the plots is all there is


def test_a_missed_must_is_said_and_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is written all the same; a part that could not be measured is no success either."""
    monkeypatch.setattr(cold, "run", lambda *_: Section("Cold start", [Row("read ready", "1 ms", 1.4, must=1.3)]))
    assert bench.main(["cold", "--html", str(tmp_path / "page.html")]) == 1
    assert "over its must: read ready" in capsys.readouterr().err
    assert (tmp_path / "page.html").exists()

    def missing(*_: object) -> Section:
        raise throughput.Missing("wrk is not installed")

    monkeypatch.setattr(cold, "run", missing)
    assert bench.main(["cold", "--html", str(tmp_path / "page.html")]) == 1
    assert "cold could not be measured: wrk is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["colder"], ["--rows", "many"]])
def test_what_it_does_not_know_is_refused(words: list[str]) -> None:
    """Exit 2."""
    with pytest.raises(SystemExit) as exit_:
        bench.main(words)
    assert exit_.value.code == 2


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_part_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few rounds; musts may be missed on a busy machine, but all is measured. Needs wrk."""
    bench.main(["--quick", "--html", str(tmp_path / "page.html")])
    said = capsys.readouterr()
    assert "could not be measured" not in said.err
    assert [
        name for name in ("Cold start", "Warm calls", "Signing", "Throughput", "Growth") if name not in said.out
    ] == []

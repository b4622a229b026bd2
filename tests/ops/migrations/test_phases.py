"""Migrations that add come by themselves; those that take away wait until nobody needs what they take."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mongomig import MongoMigError
from mongomig.migrations.script import load_script, load_scripts

from getsmart import clock
from getsmart.services import tick
from getsmart.stores import controls
from ops.functions import ROOT
from ops.migrations import __main__ as migrations
from ops.migrations import colours, files
from tests.edge import Raw
from tests.migrating import AFTER, NEWEST, NEXT, PAIR, advance, file, picture, project

OLD, NEW = int(NEXT), int(AFTER)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project in which a field is added by one migration and another one is taken away by the next."""
    return project(tmp_path)


def see(raw: Raw, colour: str, schema_version: int, *, hours: float = 0, version: str = "1") -> None:
    """As if a colour's tick had said so, so long ago."""
    at = clock.now() - timedelta(hours=hours)
    report = {"version": version, "schema_version": schema_version, "at": at}
    raw.controls.update_one({"_id": "colour"}, {"$set": {f"seen.{colour}": report}})


@pytest.fixture
def served(root: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, scratch_database: Raw) -> Raw:
    """A database of today on which blue serves with today's code, and wallets that have what is to go."""
    advance(scratch_database, environment["MONGODB_URI"], NEWEST)
    scratch_database.wallets.insert_many(
        [
            {"_id": f"wlt_{n}", "address": f"0xA{n}", "address_key": f"0xa{n}", "links": [], "nickname": f"n{n}"}
            for n in range(3)
        ]
    )
    see(scratch_database, "blue", NEWEST)
    return scratch_database


def run(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The command with the files of a root: its exit code and what it said."""
    capsys.readouterr()
    code = migrations.main(list(words), root)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_every_file_declares_its_phase() -> None:
    """From the first one on that has to; what was written before expands."""
    scripts = load_scripts(ROOT / "migrations/versions")
    assert {files.phase(script) for script in scripts} <= set(files.PHASES)
    undeclared = [
        script.revision for script in scripts if not re.search(r"^phase = ", script.path.read_text(), re.MULTILINE)
    ]
    assert undeclared == [f"{number:04d}" for number in range(1, files.UNPHASED + 1)]


@pytest.mark.parametrize("line", ["", 'phase = "later"', "phase = 1", 'phase = "ex" + "pand"'])
def test_a_file_without_a_phase_is_refused(root: Path, scratch_database: Raw, capsys: Any, line: str) -> None:
    """Before anything is applied, with the file's name and what to write."""
    path = root / f"migrations/versions/{NEXT}_address_lower.py"
    path.write_text(path.read_text().replace('phase = "expand"', line))
    code, _, said = run(root, capsys, "up")
    assert code == 1
    assert said.splitlines()[-1] == f'migrate: {path.name}: has to declare phase = "expand" or phase = "contract"'
    assert scratch_database.list_collection_names() == []


def test_the_code_knows_the_newest_migration() -> None:
    """SCHEMA is the number of the newest file: `./doit migrate new` writes it, a renumbering has to."""
    newest = max(int(script.revision) for script in load_scripts(ROOT / "migrations/versions"))
    assert newest == controls.SCHEMA, f"write SCHEMA = {newest} into {files.CODE}"


def test_up_stops_before_the_first_that_takes_away(served: Raw, root: Path, capsys: Any) -> None:
    """What adds is applied; what waits is named, with the command; repeating it changes nothing."""
    code, said, _ = run(root, capsys, "up")
    assert (code, said.splitlines()[-2:]) == (
        0,
        ["1 applied", f"{AFTER} contracts: it and what follows wait for ./doit migrate up --contract"],
    )
    assert served.wallets.count_documents({"address_lower": {"$exists": True}, "nickname": {"$exists": True}}) == 3
    assert "0 applied" in run(root, capsys, "up")[1]
    status = run(root, capsys, "status")[1].splitlines()
    assert status[NEWEST : NEWEST + 2] == [
        f"{NEXT}  applied   expand    Wallets: an address in lower case",
        f"{AFTER}  pending   contract  Wallets: no nickname",
    ]
    assert status[NEWEST + 2].startswith(f"blue (active): version 1, made for schema {NEWEST}, seen ")


def test_a_contract_waits_for_every_colour(served: Raw, root: Path, capsys: Any) -> None:
    """Refused while the active colour, or the other one within a day, was made before it; then it takes away."""
    before = picture(served)
    code, _, said = run(root, capsys, "up", "--contract")
    assert code == 1
    assert f"blue runs version 1, made for schema {NEWEST}" in said
    assert f"{AFTER} asks for {NEW} or higher: deploy and promote a version that has {AFTER}" in said
    # What adds and comes before it is harmless, and was applied.
    assert set(picture(served)) == set(before)
    assert served.wallets.count_documents({"nickname": {"$exists": True}}) == 3
    assert "lowest_schema" not in controls_row(served)
    see(served, "blue", OLD, version="2")
    see(served, "green", NEW, version="3")
    assert "blue runs version 2" in run(root, capsys, "up", "--contract")[2]
    served.controls.update_one({"_id": "colour"}, {"$set": {"active": "green"}})
    code, _, said = run(root, capsys, "up", "--contract")
    assert code == 1
    assert "blue runs version 2, made for schema" in said
    assert "deploy such a version to it, too (./doit deploy ENVIRONMENT --colour blue)" in said
    assert served.wallets.count_documents({"nickname": {"$exists": True}}) == 3
    see(served, "blue", NEW, version="3")
    code, said, _ = run(root, capsys, "up", "--contract")
    assert (code, said.splitlines()[-1]) == (0, "1 applied")
    assert served.wallets.count_documents({"nickname": {"$exists": True}}) == 0
    assert controls_row(served)["lowest_schema"] == NEW


def controls_row(raw: Raw) -> dict[str, Any]:
    """The row of the colours."""
    return raw.controls.find_one({"_id": "colour"}) or {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"$set": {"moving": {"to": "green", "kind": "promote", "by": "x"}}}, "a promote to green is under way"),
        ({"$unset": {"seen.blue": ""}}, "blue is active and has not said what it was made for"),
        ({"$set": {"active": "green"}}, "green is active and has not said what it was made for"),
        ({"$set": {"seen.blue.at": clock.now() - timedelta(hours=25)}}, "its tick has stopped"),
    ],
)
def test_who_serves_has_to_be_known(served: Raw, root: Path, capsys: Any, change: Any, said: str) -> None:
    """A move under way, an active colour that never said anything, or has fallen silent, refuse it."""
    see(served, "blue", NEW)
    served.controls.update_one({"_id": "colour"}, change)
    code, _, told = run(root, capsys, "up", "--contract")
    assert code == 1
    assert said in told
    assert served.wallets.count_documents({"nickname": {"$exists": True}}) == 3


def test_a_colour_that_is_gone_for_a_day_does_not_count(served: Raw, root: Path, capsys: Any) -> None:
    """It was undeployed; an hour before that it still counts."""
    see(served, "blue", NEW)
    see(served, "green", NEWEST, hours=23)
    assert run(root, capsys, "up", "--contract")[0] == 1
    see(served, "green", NEWEST, hours=25)
    assert run(root, capsys, "up", "--contract")[0] == 0


def test_one_update_decides_against_a_promotion_that_begins(served: Raw, environment: Any) -> None:
    """Whoever is first: a move that has begun stops the contract, and old code cannot begin one after it."""
    assert controls.intend("green", "promote", "me", NEWEST)
    with pytest.raises(colours.Refused, match="promote to green is under way"):
        colours.raise_lowest(served, NEW, is_checked=True)
    served.controls.update_one({"_id": "colour"}, {"$unset": {"moving": ""}})
    see(served, "blue", NEW)
    colours.raise_lowest(served, NEW, is_checked=True)
    assert not controls.intend("green", "promote", "me", OLD)
    assert "moving" not in controls_row(served)
    assert controls.intend("green", "promote", "me", NEW)


def test_an_old_report_in_between_stops_it(served: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older code that says so between the look and the update is seen by the update."""
    see(served, "blue", NEW)
    look = colours.check_contract

    def late(*arguments: Any) -> Any:
        row = look(*arguments)
        see(served, "green", NEWEST)
        return row

    monkeypatch.setattr(colours, "check_contract", late)
    with pytest.raises(colours.Refused, match="repeat the command"):
        colours.raise_lowest(served, NEW, is_checked=True)
    assert "lowest_schema" not in controls_row(served)


def test_a_new_database_gets_everything(scratch_database: Raw, root: Path, capsys: Any) -> None:
    """Nobody serves on it yet, so nothing can be taken from anybody; older code is kept away from then on."""
    code, said, _ = run(root, capsys, "up")
    assert (code, said.splitlines()[-1]) == (0, f"{NEW} applied")
    assert controls_row(scratch_database)["lowest_schema"] == NEW


def test_an_undone_contract_lets_older_code_in_again(served: Raw, root: Path, capsys: Any) -> None:
    """What it took is back, and so is the right to go back."""
    before = picture(served)["wallets"]["documents"]
    see(served, "blue", NEW)
    assert run(root, capsys, "up", "--contract")[0] == 0
    code, said, _ = run(root, capsys, "down", NEXT)
    assert (code, said.splitlines()[-1]) == (0, "1 undone")
    assert "lowest_schema" not in controls_row(served)
    names = [{name: value for name, value in row.items() if name != "address_lower"}
             for row in picture(served)["wallets"]["documents"]]  # fmt: skip
    assert names == before


def test_what_serving_code_needs_is_not_undone(served: Raw, root: Path, capsys: Any) -> None:
    """An expansion that code which serves was made for stays, unless it is forced."""
    assert run(root, capsys, "up")[0] == 0
    see(served, "blue", OLD)
    for words in (["down"], ["down", "--dry-run"]):
        code, _, said = run(root, capsys, *words)
        assert code == 1
        assert f"blue serves with version 1, made for schema {OLD}, which needs {NEXT}" in said
    assert served.wallets.count_documents({"address_lower": {"$exists": True}}) == 3
    assert run(root, capsys, "down", "--force")[0] == 0
    assert run(root, capsys, "up")[0] == 0
    see(served, "blue", OLD, hours=1)  # it has stopped
    assert run(root, capsys, "down")[0] == 0


def test_an_expansion_that_deletes_is_refused(served: Raw, tmp_path: Path, capsys: Any) -> None:
    """Whatever it calls itself."""
    body = "def upgrade(ctx):\n    ctx.ops.unset_field('wallets', 'nickname')\n\n\ndef downgrade(ctx):\n    pass\n"
    root = project(tmp_path / "other", {f"{NEXT}_x.py": file(NEXT, "expand", body)})
    code, _, said = run(root, capsys, "up")
    assert code == 1
    assert f"{NEXT} can delete data" in said
    assert served.wallets.count_documents({"nickname": {"$exists": True}}) == 3


def test_the_tick_says_what_its_code_was_made_for(system: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run, also that of a colour that is not active, in the round trip that asks who is."""
    tick.run()
    system.controls.update_one({"_id": "colour"}, {"$set": {"active": "green"}})
    system.controls.update_one({"_id": "colour"}, {"$unset": {"seen": ""}})
    assert tick.run() == {"skipped": "colour blue is not active"}
    report = controls_row(system)["seen"]["blue"]
    assert (report["version"], report["schema_version"]) == ("test", controls.SCHEMA)
    assert clock.now() - report["at"] < timedelta(seconds=30)


def test_a_phase_is_read_without_running_the_file(tmp_path: Path) -> None:
    """A file that would fail when it is imported has a phase all the same."""
    path = tmp_path / "0008_x.py"
    path.write_text(PAIR[f"{NEXT}_address_lower.py"].replace("def upgrade", "raise RuntimeError\n\n\ndef upgrade"))
    assert files.phase(load_script(path)) == "expand"
    assert issubclass(colours.Refused, MongoMigError)

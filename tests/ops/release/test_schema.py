"""A colour has calls only on a schema that its code was made for: nothing missing, nothing taken away."""

from pathlib import Path
from typing import Any

import pytest

from ops import migrations
from ops.migrations import running
from ops.release import schema, state
from ops.release.state import Code, DatabaseUnreachable, Standing
from tests.edge import Raw
from tests.migrating import AFTER, NEWEST, NEXT, project

THIRD = f"{NEWEST + 3:04d}"


def code(schema_version: int | None, *versions: str | None) -> Code:
    """What a colour says that it runs."""
    return Code(frozenset(versions or ("1.4",)), schema_version)


@pytest.mark.parametrize(
    ("lowest", "made_for", "said"),
    [
        (0, None, None),
        (0, 7, None),
        (9, 9, None),
        (9, 12, None),
        (9, 8, "green runs version 1.4, made for schema 8; migration 0009 has taken away what it needs"),
        (9, None, "green does not say what it runs"),
    ],
)
def test_what_was_taken_away(lowest: int, made_for: int | None, said: str | None) -> None:
    """Code that was made before a contract migration gets no calls; nobody is asked while there is none."""
    problem = schema.problem("green", code(made_for), Standing("blue", lowest_schema=lowest))
    assert problem is None if said is None else problem is not None and said in problem


def test_the_way_out_is_named() -> None:
    """A newer version, or the migration undone."""
    problem = schema.problem("green", code(8), Standing("blue", lowest_schema=9))
    assert problem is not None
    assert problem.endswith("deploy a version that has 0009, or give back what was taken: ./doit migrate down 0008")


@pytest.fixture
def here(system: Raw, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands read a project that has an expansion and a contract more than the database has applied."""
    third = f'"""Third"""\n\nrevision = "{THIRD}"\ndown_revision = "{AFTER}"\nphase = "expand"\n'
    third += "\n\ndef upgrade(ctx):\n    pass\n\n\ndef downgrade(ctx):\n    pass\n"
    root = project(tmp_path)
    (root / "migrations/versions/third.py").write_text(third)

    def status(uri: str, database: str) -> Any:
        with running.opened(uri, database, root=root) as runner:
            return runner.status()

    monkeypatch.setattr(migrations, "status", status)
    return root


@pytest.mark.parametrize(
    ("made_for", "said"),
    [
        (None, None),
        (NEWEST, None),
        (NEWEST + 1, f"green needs {NEXT}, not applied yet: ./doit migrate up"),
        (NEWEST + 2, f"green needs {NEXT}, not applied yet: ./doit migrate up"),
        (
            NEWEST + 3,
            f"green needs {NEXT}, {THIRD}, not applied yet: ./doit migrate up --contract, as {AFTER} comes first",
        ),
    ],
)
def test_what_is_missing(here: Path, made_for: int | None, said: str | None) -> None:
    """Expansions up to the code's own number have to be there; a contract may come later, unless more follows it."""
    assert schema.pending("green", code(made_for)) == said


def test_a_database_that_is_gone(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is applied is not guessed."""
    monkeypatch.setenv("MONGODB_URI", "http://127.0.0.1:9/")
    state.config.forget()
    with pytest.raises(DatabaseUnreachable, match="which migrations are applied is not known"):
        schema.pending("green", code(NEWEST))


def test_a_colour_is_as_old_as_its_oldest_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer is not guessed; one that says nothing was made before anybody did."""
    environment: Any = type("There", (), {"servers": lambda self, colour: [1, 2]})()
    for reports, wanted in (
        ([{"version": "1", "schema_version": 9}, {"version": "1", "schema_version": 8}], code(8, "1")),
        ([{"version": "1", "schema_version": 9}, {"version": "0"}], code(7, "1", "0")),
        ([{"version": "1", "schema_version": 9}, None], code(None, "1", None)),
    ):
        answers = iter(reports)
        monkeypatch.setattr(state, "health", lambda *_, answers=answers: next(answers))
        assert state.code(environment, "green") == wanted


def test_the_database_of_today_is_complete(system: Raw) -> None:
    """What this tree's code needs is applied by this tree's migrations."""
    assert schema.pending("blue", code(NEWEST)) is None

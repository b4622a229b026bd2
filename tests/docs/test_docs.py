"""The documents say what the code does."""

import re
from pathlib import Path

from getsmart import errors
from getsmart.models import MOVES
from ops.functions import load


def _tree(error: type[errors.GetSmartError]) -> set[type[errors.GetSmartError]]:
    return {error, *(found for child in error.__subclasses__() for found in _tree(child))}


def test_error_table_is_the_error_tree(repository: Path) -> None:
    """docs/api.md has each code with its status, once, and no other."""
    table = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", (repository / "docs/api.md").read_text(), re.MULTILINE)
    assert len(table) == len(set(table))
    assert {(code, int(status)) for code, status in table} == {(e.code, e.status) for e in _tree(errors.GetSmartError)}


def test_drawing_is_the_state_machine(repository: Path) -> None:
    """Each arrow of the drawing is a move, and each move an arrow."""
    text = (repository / "docs/architecture.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE))
    assert drawn == {(source, target) for source, targets in MOVES.items() for target in targets}


def test_every_web_function_is_documented(repository: Path) -> None:
    """README's table and the sections of docs/api.md are the functions on the web, each with its method."""
    on_web = {f"/v1/{function.package}/{function.name}" for function in load(repository) if function.web}
    listed = re.findall(r"^\| `(GET|POST|PATCH|DELETE) (/v1/\S+)` \|", (repository / "README.md").read_text(), re.M)
    described = re.findall(r"^### (GET|POST|PATCH|DELETE) (/v1/\S+)$", (repository / "docs/api.md").read_text(), re.M)
    assert {path for _, path in listed} == on_web
    assert sorted(listed) == sorted(described)


def test_links_lead_somewhere(repository: Path) -> None:
    """Every relative link of a document names a file of the tree."""
    for document in (*repository.glob("*.md"), *repository.glob("docs/**/*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"

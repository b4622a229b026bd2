"""The documents say what the code does."""

import re
from pathlib import Path

from getsmart import errors
from getsmart.models import MOVES
from ops.functions import load


def _tree(error: type[errors.GetSmartError]) -> set[type[errors.GetSmartError]]:
    return {error, *(found for child in error.__subclasses__() for found in _tree(child))}


def test_the_guide_to_errors_is_the_error_tree(repository: Path) -> None:
    """docs/errors.md has a section for each code that opens with its status, once, and no other."""
    sections = re.findall(r"^## ([a-z_]+)\n\n(\d{3})\. ", (repository / "docs/errors.md").read_text(), re.MULTILINE)
    assert len(sections) == len(set(sections))
    told = {(code, int(status)) for code, status in sections}
    assert told == {(error.code, error.status) for error in _tree(errors.GetSmartError)}


def test_drawing_is_the_state_machine(repository: Path) -> None:
    """Each arrow of the drawing is a move, and each move an arrow."""
    text = (repository / "docs/architecture.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE))
    assert drawn == {(source, target) for source, targets in MOVES.items() for target in targets}


def test_every_web_function_is_documented(repository: Path) -> None:
    """README's table and the sections of docs/api.md are the functions on the web, each with its method."""
    on_web = {f"/v1/{function.package}/{function.name}" for function in load(repository) if function.web}
    methods = "(GET|POST|PATCH|DELETE)"
    readme, reference = ((repository / name).read_text() for name in ("README.md", "docs/api.md"))
    listed = re.findall(rf"^\| `{methods} (/v1/\S+)` \|", readme, re.MULTILINE)
    described = re.findall(rf"^### {methods} (/v1/\S+)$", reference, re.MULTILINE)
    assert {path for _, path in listed} == on_web
    assert sorted(listed) == sorted(described)


def test_links_lead_somewhere(repository: Path) -> None:
    """Every relative link of a document names a file of the tree."""
    for document in (*repository.glob("*.md"), *repository.glob("docs/**/*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"

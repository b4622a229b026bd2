"""What people are pointed to: tasks that exist, the organisation's Discussions, the documentation's issue form."""

import re
from pathlib import Path

import pytest
import yaml

import dodo
from ops.pipeline import announce

DISCUSSIONS = "https://github.com/orgs/getsmart-token/discussions"
DOCUMENTATION = "https://github.com/getsmart-token/gs_help_int/issues/new?title=Deployment"
CATEGORIES = ("Deployments", "Development", "DevOps Support")
# Words after ./doit that are the task runner's own, or stand for any task.
OWN = {"list", "help"}


def documents(repository: Path) -> list[Path]:
    """Everything that tells a person what to type."""
    return [*repository.glob("*.md"), *repository.glob("docs/**/*.md"), *repository.glob(".github/**/*.md")]


def test_every_task_that_a_document_names_exists(repository: Path) -> None:
    """Nobody is told to type what is not there."""
    named = {
        (path.name, task)
        for path in documents(repository)
        for task in re.findall(r"\./doit ([a-z]+)", path.read_text())
    }
    assert len(named) > 40
    assert {one for one in named if one[1] not in OWN and not hasattr(dodo, f"task_{one[1]}")} == set()


@pytest.mark.parametrize("name", ["SUPPORT.md", "docs/responsibilities.md"])
def test_people_are_sent_where_the_owner_says(repository: Path, name: str) -> None:
    """Three categories of the organisation's Discussions, and the form for the public documentation."""
    text = (repository / name).read_text()
    assert DISCUSSIONS in text
    assert DOCUMENTATION in text
    assert [category for category in CATEGORIES if category not in text] == []


def test_whoever_opens_an_issue_is_shown_the_same(repository: Path) -> None:
    """The chooser of issues has a link for each category and for the documentation."""
    links = yaml.safe_load((repository / ".github/ISSUE_TEMPLATE/config.yml").read_text())["contact_links"]
    found = {link["name"]: link["url"] for link in links}
    assert found == {**dict.fromkeys(CATEGORIES, DISCUSSIONS), "Documentation": DOCUMENTATION}
    assert (DISCUSSIONS, CATEGORIES[0]) == (announce.DISCUSSIONS, announce.CATEGORY)


def test_owners_are_asked_for_what_there_is(repository: Path) -> None:
    """Each path of CODEOWNERS is in the tree, and each has an owner."""
    lines = [line.split() for line in (repository / ".github/CODEOWNERS").read_text().splitlines()]
    entries = [line for line in lines if line and line[0] != "#"]
    assert all(len(entry) > 1 for entry in entries)
    assert [path for path, *_ in entries if path != "*" and not (repository / path.strip("/")).exists()] == []


def test_the_developers_duties_are_on_every_pull_request(repository: Path) -> None:
    """The template asks for the same tasks as the developers' checklist before a merge."""
    duties = (repository / "docs/responsibilities.md").read_text().partition("## The DevOps team")[0]
    asked = (repository / ".github/PULL_REQUEST_TEMPLATE.md").read_text()
    tasks = set(re.findall(r"\./doit ([a-z]+)", duties)) - {"audit", "package"}
    assert tasks <= set(re.findall(r"\./doit ([a-z]+)", asked))


def test_each_threat_has_a_test(repository: Path) -> None:
    """The last column of the threat model names tests that exist, in each row."""
    lines = (repository / "docs/security.md").read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ") and line.count("|") == 6]
    threats = [row for row in rows[1:] if row[2].strip()]
    assert len(threats) > 15
    for row in threats:
        named = re.findall(r"`(tests/[^`]+)`", row[-1])
        assert named, row
        assert [name for name in named if not (repository / name).exists()] == []


# Makes or tells nothing of an environment, or is what a worker runs, with its own variables.
NO_ENVIRONMENT = ("backup --new-identity", "backup --every", "replicaset", "rotate", "migrate new", "audit", "serve")


def test_whoever_is_woken_up_works_on_the_right_environment(repository: Path) -> None:
    """Each command of a runbook that asks a database, a gateway or a deployment names the environment."""
    found = []
    for page in (repository / "docs/runbooks").glob("*.md"):
        said_once = page.name in {"rotate-secrets.md", "migration-failed.md", "before-you-begin.md"}
        for words in re.findall(r"(?:^|`)\./doit ([^`\n#]+)", page.read_text(), re.MULTILINE):
            names = re.search(
                r"--env (production|staging|deploy/environments/)|\b(production|staging|ENVIRONMENT)\b", words
            )
            if not said_once and not names and not words.startswith(NO_ENVIRONMENT):
                found.append((page.name, words))
    assert found == []


def test_whatever_a_runbook_types_is_defined(repository: Path) -> None:
    """$API and $KEY are exported on one page, and each page that uses them leads there."""
    pages = {page.name: page.read_text() for page in (repository / "docs/runbooks").glob("*.md")}
    assert {"API", "KEY"} <= set(re.findall(r"^export ([A-Z]+)=", pages["before-you-begin.md"], re.MULTILINE))
    using = {name for name, text in pages.items() if re.search(r"\$(API|KEY)\b", text)}
    assert len(using) > 8
    assert {name for name in using if "(before-you-begin.md)" not in pages[name]} == set()


def test_a_real_account_takes_ten_commands(repository: Path) -> None:
    """README leads to them; each is a task that exists, doctl, or a copy; and what was never tried is a list below."""
    assert "(docs/deploy.md#to-a-real-account)" in (repository / "README.md").read_text()
    text = (repository / "docs/deploy.md").read_text()
    block = text.partition("## To a real account")[2].split("```")[1]
    commands = [line.partition("#")[0].split() for line in block.splitlines() if line.strip()]
    assert 0 < len(commands) <= 10
    assert {words[0] for words in commands} == {"cp", "./doit", ".local/bin/doctl"}
    assert all(hasattr(dodo, f"task_{words[1]}") for words in commands if words[0] == "./doit")
    assert "Without an account none of this can be tried" in text

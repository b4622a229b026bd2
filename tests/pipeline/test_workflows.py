"""What GitHub's schemas, linters and this house ask of the workflows. Each rule is shown a file that breaks it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import dodo
from ops.functions import ROOT
from ops.pipeline import tools, workflows

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w./-]+@[0-9a-f]{40}")
IMAGE = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
TASK = re.compile(r"\./doit ([a-z]+)((?: [\w./:,<>=-]+)*)(?: #.*)?")

all_files = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    """A workflow; YAML takes the bare word `on` for true."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {**content, "on": content.get(True, content.get("on"))}


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step of every job."""
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def problems(workflow: dict[str, Any]) -> list[str]:
    """What this house has against a workflow."""
    laws = {
        "permissions: a workflow has none; its jobs ask for theirs": workflow.get("permissions") == {},
        "no concurrency guard": "concurrency" in workflow,
        "a secret for every job": "secrets." not in str(workflow.get("env", "")),
    }
    found = [problem for problem, is_kept in laws.items() if not is_kept]
    found += [f"{name}: {problem}" for name, job in workflow["jobs"].items() for problem in _of_job(job)]
    return found + [problem for step in steps(workflow) for problem in _of_step(step)]


def _of_job(job: dict[str, Any]) -> list[str]:
    images = [service["image"] for service in job.get("services", {}).values()]
    laws = {
        "permissions are missing, or more than reading": set(job.get("permissions", {"": None}).values()) == {"read"},
        "an image is not pinned by its digest": all(IMAGE.fullmatch(image) for image in images),
        "no timeout": "steps" not in job or "timeout-minutes" in job,
        "a secret for every step": "secrets." not in str(job.get("env", "")),
    }
    return [problem for problem, is_kept in laws.items() if not is_kept]


def _of_step(step: dict[str, Any]) -> Iterator[str]:
    if "uses" in step:
        if not PINNED.fullmatch(step["uses"]):
            yield f"{step['uses']} is not pinned by its commit"
        if step["uses"].startswith("actions/checkout") and step["with"].get("persist-credentials") is not False:
            yield "the checkout keeps the token"
    else:
        found = TASK.fullmatch(step["run"])
        if found is None:
            yield f"{step['run']} is no task"
        elif not hasattr(dodo, f"task_{found[1]}"):
            yield f"no task {found[1]}"


def commands() -> set[str]:
    """Every `./doit` of the workflows, without its words."""
    texts = [step["run"] for path in FILES for step in steps(read(path)) if "run" in step]
    return {found[1] for text in texts if (found := TASK.fullmatch(text))}


@all_files
def test_a_workflow_keeps_the_rules(path: Path) -> None:
    """It only calls tasks that exist; actions and images are pinned by digest; a job may read, and nothing else.

    A secret reaches one step; runs guard each other, and end.
    """
    assert problems(read(path)) == []


GOOD = """
on: push
permissions: {}
concurrency: one
jobs:
  one:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions: {contents: read}
    services: {db: {image: "mongo:8.0@sha256:DIGEST"}}
    steps:
      - uses: actions/checkout@COMMIT
        with: {persist-credentials: false}
      - run: ./doit check
""".replace("DIGEST", "0" * 64).replace("COMMIT", "0" * 40)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("permissions: {}", "permissions: read-all", "permissions"),
        ("permissions: {contents: read}", "permissions: {contents: write}", "more than reading"),
        ("permissions: {contents: read}", "environment: x", "permissions are missing"),
        ("concurrency: one\n", "", "concurrency"),
        ("@" + "0" * 40, "@v6", "not pinned by its commit"),
        ("@sha256:" + "0" * 64, "", "not pinned by its digest"),
        ("{persist-credentials: false}", "{fetch-depth: 0}", "keeps the token"),
        ("./doit check", "curl example.com | sh", "is no task"),
        ("./doit check", "./doit nothing", "no task nothing"),
        ("./doit check", "sudo ./doit check", "is no task"),
        ("./doit check", "./doit check && echo", "is no task"),
        ("    timeout-minutes: 5\n", "", "no timeout"),
        ("concurrency: one", "concurrency: one\nenv: {A: '${{ secrets.A }}'}", "a secret for every job"),
        ("timeout-minutes: 5", "timeout-minutes: 5\n    env: {A: '${{ secrets.A }}'}", "a secret for every step"),
    ],
)
def test_a_broken_rule_is_found(old: str, new: str, problem: str, tmp_path: Path) -> None:
    """Each rule bites."""
    path = tmp_path / "x.yml"
    path.write_text(GOOD)
    assert problems(read(path)) == []
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    assert any(problem in found for found in problems(read(path)))


def test_production_waits_for_a_reviewer() -> None:
    """What reaches production went through checks, build, staging and an approval; two deliveries never overlap."""
    jobs = read(ROOT / ".github/workflows/deliver.yml")["jobs"]
    assert [jobs[name].get("needs") for name in ("check", "build", "staging", "production")] == [
        None,
        "check",
        "build",
        "staging",
    ]
    for name in ("staging", "production"):
        assert jobs[name]["environment"] == name
        assert jobs[name]["concurrency"] == {"group": f"deploy-{name}", "cancel-in-progress": False}


def test_a_rollback_waits_for_nobody() -> None:
    """It has an environment of its own, whose rules ask for no reviewer, beside the one of deliveries, which asks."""
    (job,) = read(ROOT / ".github/workflows/rollback.yml")["jobs"].values()
    assert job["environment"] == "production-rollback"
    page = (ROOT / "docs/deploy.md").read_text()
    rules = dict(re.findall(r"^ +\| `([\w-]+)` \| ([^|]*) \|", page, re.MULTILINE))
    assert "reviewers" in rules["production"]
    assert rules["production-rollback"].startswith("nobody waits")


def test_a_contract_is_a_decision_of_its_own() -> None:
    """A delivery migrates before it promotes, and only by what adds; what takes away is by hand, approved by itself."""
    jobs = read(ROOT / ".github/workflows/deliver.yml")["jobs"]
    for name in ("staging", "production"):
        tasks = [match for step in jobs[name]["steps"] if (match := TASK.fullmatch(step.get("run", "")))]
        order = [match[1] for match in tasks]
        assert order.index("migrate") < order.index("smoke") < order.index("promote")
        assert [match[2] for match in tasks if match[1] == "migrate"] == [f" up --env deploy/environments/{name}.env"]
    contract = read(ROOT / ".github/workflows/contract.yml")
    assert list(contract["on"]) == ["workflow_dispatch"]
    assert contract["jobs"]["production"]["needs"] == "staging"
    assert contract["jobs"]["production"]["environment"] == "production-contract"
    for name in ("staging", "production"):
        assert contract["jobs"][name]["concurrency"]["group"] == f"deploy-{name}"
        commands = [step["run"] for step in contract["jobs"][name]["steps"] if "run" in step]
        assert commands == [
            f"./doit migrate up --contract --dry-run --env deploy/environments/{name}.env",
            f"./doit migrate up --contract --env deploy/environments/{name}.env",
        ]
    others = [path.stem for path in FILES if "--contract" in path.read_text()]
    assert others == ["contract"]


def named_by_jobs() -> dict[str, dict[str, set[str]]]:
    """The secrets and variables that the jobs of each environment read."""
    found: dict[str, dict[str, set[str]]] = {}
    for path in FILES:
        for name, job in read(path)["jobs"].items():
            names = {kind: set(re.findall(rf"{kind}\.(\w+)", str(job))) for kind in ("secrets", "vars")}
            assert "environment" in job or not any(names.values()), f"{path.stem}: {name} has no environment"
            if "environment" in job:
                known = found.setdefault(job["environment"], {"secrets": set(), "vars": set()})
                for kind, values in names.items():
                    known[kind] |= values
    return found


def test_what_jobs_read_is_what_the_page_says_to_set() -> None:
    """Whoever sets an environment up by docs/deploy.md has given its jobs all that they read, and nothing more."""
    page = (ROOT / "docs/deploy.md").read_text()
    rows = re.findall(r"^ +\| `([\w-]+)` \| [^|]*\| ([^|]*)\| ?([^|]*)\|$", page, re.MULTILINE)
    told = {name: {"secrets": secrets, "vars": variables} for name, secrets, variables in rows}
    told["production"]["secrets"] = told["staging"]["secrets"]  # "the same"
    assert {
        name: {kind: set(re.findall(r"`(\w+)`", text)) for kind, text in row.items()} for name, row in told.items()
    } == named_by_jobs()


# What speaks with doctl, in an environment whose gateway is an app, or to deploy.
BY_DOCTL = {"deploy", "promote", "rollback", "status"}


def test_a_job_has_the_doctl_that_it_needs() -> None:
    """Whatever deploys, or moves calls at an app, comes after `./doit doctl` in its own job: no machine brings one."""
    seen = set()
    for path in FILES:
        for name, job in read(path)["jobs"].items():
            texts = [step["run"] for step in job.get("steps", []) if "run" in step]
            tasks = [match[1] for text in texts if (match := TASK.fullmatch(text))]
            using = [number for number, task in enumerate(tasks) if task in BY_DOCTL]
            if using:
                assert "doctl" in tasks[: using[0]], f"{path.stem}: {name}"
                seen |= BY_DOCTL.intersection(tasks)
    assert seen == BY_DOCTL


def test_one_version_of_each_action() -> None:
    """The same action is the same commit everywhere, and says which version that is."""
    text = "\n".join(path.read_text() for path in FILES)
    used = set(re.findall(r"uses: ([\w-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)\n", text))
    assert len(used) == len({name for name, _, _ in used}) > 0
    assert len(re.findall(r"uses: [\w-]+/", text)) == len(re.findall(r"@[0-9a-f]{40} # v", text))


@pytest.fixture
def linters() -> None:
    """What is needed to lint."""
    import os

    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "workflows are linted with node"
        pytest.skip("needs node and npm")
    workflows.install()


@pytest.mark.timeout(180)  # the first run installs
def test_schema_and_linters_have_nothing_against_them(linters: None, capsys: pytest.CaptureFixture[str]) -> None:
    """GitHub's own schemas, actionlint, and zizmor at its strictest but one, offline."""
    assert workflows.main([]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("timeout-minutes: 60", "timeout-minutes: soon", "is not valid under any of the given schemas"),
        ("./doit workflows", "./doit ${{ github.event.issue.title }}", "potentially untrusted"),
        ("actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "actions/checkout@v6", "unpinned-uses"),
    ],
)
def test_each_linter_bites(linters: None, tmp_path: Path, old: str, new: str, said: str) -> None:
    """A planted mistake for the schema, for actionlint and for zizmor each is found."""
    target = tmp_path / ".github/workflows/check.yml"
    target.parent.mkdir(parents=True)
    text = (ROOT / ".github/workflows/check.yml").read_text()
    assert old in text
    target.write_text(text.replace(old, new))
    assert any(said in problem for problem in workflows.problems(tmp_path))


def test_the_pipelines_tools_are_those_of_the_gate() -> None:
    """`./doit tools` installs what .ci/run installs, node aside, which GitHub's machines have."""
    packages = re.findall(r"--no-install-recommends ([a-z ]+) >", (ROOT / ".ci/run").read_text())
    wanted = {name for line in packages for name in line.split()} - {"nodejs", "npm"}
    assert wanted == set(tools.PACKAGES.values())


def test_updates_are_asked_for_everywhere() -> None:
    """Dependabot watches each folder that has a lock, a manifest of npm, a Dockerfile or workflows."""
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    watched = {
        (one["package-ecosystem"], folder)
        for one in updates
        for folder in one.get("directories", [one.get("directory")])
    }
    locks = {
        f"/{path.parent.relative_to(ROOT)}"
        for folder in ("lib", "requirements")
        for path in (ROOT / folder).glob("*.in")
    }
    dockerfiles = ["/", *(f"/deploy/{path.parent.name}" for path in (ROOT / "deploy").glob("*/Dockerfile"))]
    manifests = {f"/{folder}" for folder in ("ops/node", "tests/deploy")}
    assert watched == {
        *(("pip", lock) for lock in locks),
        *(("npm", folder) for folder in manifests),
        ("github-actions", "/"),
        *(("docker", folder) for folder in dockerfiles),
    }

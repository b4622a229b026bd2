"""Every rule of the deployer bites on a small project that breaks it, and ours keeps them all."""

import re
from pathlib import Path

import pytest

from ops import package
from ops.deployer_files import packed_problems
from ops.deployer_rules import problems, values_of

GOOD = """
packages:
  - name: tokens
    functions:
      - name: mint
        runtime: python:3.11
        web: raw
        limits: {timeout: 30000, memory: 256, logs: 16}
        environment:
          MONGODB_URI: '${MONGODB_URI}'
          CHAIN_ID: '137'
      - name: tick
        runtime: python:3.11
        web: false
        limits:
          timeout: ${TICK_MS}
          memory: 256
          logs: 16
        triggers:
          - name: getsmart-tick
            sourceType: scheduler
            sourceDetails: {cron: "* * * * *"}
"""
VALUES = {
    "MONGODB_URI": "mongodb://127.0.0.1",
    "TICK_MS": "60000",
    "WEB_SECURE": "s3cret",
    "EMPTY": "",
    "LIST": '{"A": 1}',
}
WEB = "        web: raw\n"
CRON = 'cron: "* * * * *"'
TRIGGER = "          - {{name: {}, sourceType: scheduler, sourceDetails: {{cron: '0 * * * *'}}}}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that deploys."""
    (tmp_path / "project.yml").write_text(GOOD)
    for name in ("mint", "tick"):
        folder = tmp_path / "packages/tokens" / name
        folder.mkdir(parents=True)
        (folder / "__main__.py").write_text("")
        (folder / ".include").write_text("__main__.py\n../../../lib/getsmart\n")
    (tmp_path / "lib/getsmart").mkdir(parents=True)
    (tmp_path / "lib/build.sh").touch(0o755)
    return tmp_path


def test_a_good_project_passes(project: Path) -> None:
    """The rules refuse nothing that they need not."""
    assert problems(project, VALUES) == []


@pytest.mark.usefixtures("built")
def test_our_project_passes(repository: Path) -> None:
    """project.yml, packages/ and lib/ deploy with the values of .env.example."""
    assert problems(repository, values_of(repository / ".env.example")) == []


KEYS = [
    ("packages:", "more: 1\npackages:", "more: no such key"),
    ("packages:", "targetNamespace: 7\npackages:", "targetNamespace.str: has to be a string"),
    ("packages:", "environment: {A: 1}\npackages:", "environment.A: has to be a string: quote it"),
    ("packages:", "parameters: [1]\npackages:", "parameters: has to be a mapping"),
    ("packages:\n  - ", "packages:\n  - 7\n  - ", "#1: has to be a mapping"),
    ("    functions:", "    limits: {memory: 128}\n    functions:", "tokens: limits: no such key"),
    ("    functions:", "    webSecure: x\n    functions:", "tokens: webSecure: no such key"),
    ("    functions:", "    shared: 'yes'\n    functions:", "tokens: shared: has to be true or false"),
    ("    functions:", "    web: 'false'\n    functions:", "tokens: web: Input should be 'raw', True or False"),
    (WEB, WEB + "        memory: 128\n", "tokens/mint: memory: no such key"),
    (WEB, WEB + "        main: 7\n", "tokens/mint: main: has to be a string"),
    (WEB, WEB + "        binary: 'no'\n", "tokens/mint: binary: has to be true or false"),
    (WEB, WEB + "        remoteBuild: true\n", "tokens/mint: remoteBuild: has to be left out"),
    ("runtime: python:3.11\n        web: raw", "web: raw", "tokens/mint: runtime: has to be there"),
    (
        "python:3.11\n        web: raw",
        "python\n        web: raw",
        "tokens/mint: runtime: Input should be 'python:3.11'",
    ),
    (
        "logs: 16}\n        env",
        "logs: 16, concurrency: 2}\n        env",
        "tokens/mint: limits.concurrency: no such key",
    ),
    ("packages:", "packages: 7\nelse:", "packages: has to be a list"),
    (GOOD, "[]", "project.yml: has to be a mapping"),
]
NAMES = [
    ("name: mint", "name: mint!", "tokens/mint!: name: letters, digits"),
    ("name: mint", f"name: {'m' * 257}", "name: letters, digits"),
    ("name: mint", "name: tick", "tokens/tick: stands there twice"),
    ("name: tokens", "name: default", "default: no package may be called so"),
    ("name: mint", "name: 7", "tokens/7: name: has to be a string: quote it"),
]
VALUES_AND_TEMPLATES = [
    ("'137'", "137", "tokens/mint: environment.CHAIN_ID: has to be a string: quote it"),
    ("'137'", "1e3", "tokens/mint: environment.CHAIN_ID: has to be a string: quote it"),
    ("'137'", "true", "tokens/mint: environment.CHAIN_ID: has to be a string: quote it"),
    ("'137'", "null", "tokens/mint: environment.CHAIN_ID: has to be a string: quote it"),
    ("'137'", "${TICK_MS}", "tokens/mint: environment.CHAIN_ID: has to be a string: quote it"),
    ("'137'", "'${NOT_SET}'", "project.yml:11: NOT_SET is unset or empty"),
    ("'137'", "'${EMPTY}'", "project.yml:11: EMPTY is unset or empty"),
    ("'137'", "'137' # ${NOT_SET}", "project.yml:11: NOT_SET is unset or empty"),
    ("'137'", "$(TICK_MS NOT_SET)", "project.yml:11: NOT_SET is unset or empty"),
    ("'137'", "'${<no-such-file}'", "project.yml:11: <no-such-file is unset or empty"),
    ("'137'", "'costs $(137'", "project.yml:11: $( opens a substitution that never ends"),
    ("packages:", "# a literal ${ has no escape\npackages:", "project.yml:2: escape is unset"),
    ("CHAIN_ID: '137'", "MONGODB_URI: x", "project.yml:10: MONGODB_URI stands twice"),
    ("'137'", "'1\t37'", "project.yml:11: holds a tab"),
    ("'137'", "'1\x0737'", "project.yml: unacceptable character #x0007"),
    ("'137'", "'137", "project.yml:"),
    (
        "        environment:\n          MONGODB_URI: '${MONGODB_URI}'\n          CHAIN_ID: '137'",
        "        environment: ${LIST}",
        "tokens/mint: environment.A: has to be a string: quote it",
    ),
]
LIMITS = [
    ("timeout: 30000", "timeout: 99", "tokens/mint: limits.timeout: Input should be greater than or equal to 100"),
    ("timeout: 30000", "timeout: 900001", "tokens/mint: limits.timeout: Input should be less than or equal to 900000"),
    ("timeout: 30000", "timeout: '30000'", "tokens/mint: limits.timeout: has to be a whole number"),
    ("memory: 256, logs: 16}\n        env", "memory: 64, logs: 16}\n        env", "tokens/mint: limits.memory: Input"),
    (
        "memory: 256, logs: 16}\n        env",
        "memory: 2048, logs: 16}\n        env",
        "tokens/mint: limits.memory: Input",
    ),
    ("logs: 16}\n        env", "logs: 257}\n        env", "tokens/mint: limits.logs: Input should be less"),
    (", logs: 16}\n        env", "}\n        env", "tokens/mint: limits.logs: has to be there"),
]
WEB_AND_SCHEDULE = [
    (WEB, "", "tokens/mint: web: has to be there: without it the function is public"),
    (WEB, "        web: 'true'\n", "tokens/mint: web: Input should be 'raw', True or False"),
    ("web: false", "web: raw", "tokens/tick: web: has to be false: it runs on a schedule only"),
    (WEB, WEB + "        webSecure: ''\n", "tokens/mint: webSecure: a secret from the environment, or false"),
    (WEB, WEB + "        webSecure: true\n", "tokens/mint: webSecure: a secret from the environment, or false"),
    (WEB, WEB + "        webSecure: 7\n", "tokens/mint: webSecure"),
    (WEB, WEB + "        webSecure: hunter2\n", "tokens/mint: webSecure: a secret comes from the environment"),
    (WEB, WEB + "        webSecure: '${NOT_SET}'\n", "project.yml:8: NOT_SET is unset or empty"),
]
TRIGGERS = [
    ("sourceType: scheduler", "type: SCHEDULED", "tokens/tick: triggers.0.sourceType: has to be there"),
    ("sourceDetails", "scheduledDetails", "tokens/tick: triggers.0.sourceDetails: has to be there"),
    (CRON, "interval: 5", "tokens/tick: triggers.0.sourceDetails.cron: has to be there"),
    (CRON, CRON + ", body: {}", "tokens/tick: triggers.0.sourceDetails.body: no such key"),
    (CRON, CRON + ", withBody: 7", "tokens/tick: triggers.0.sourceDetails.withBody: has to be a mapping"),
    (
        "            sourceType",
        "            enabled: 'no'\n            sourceType",
        "triggers.0.enabled: has to be true or",
    ),
    ("name: getsmart-tick", "label: x", "tokens/tick: triggers.0.name: has to be there"),
    (
        "        triggers:\n",
        "        triggers:\n" + TRIGGER.format("getsmart-tick"),
        "getsmart-tick: stands there twice",
    ),
    ("        triggers:\n", "        triggers:\n" + "".join(map(TRIGGER.format, "abc")), "triggers: 4 of them"),
]
CRONS = [
    ("* * * *", "a cron expression has five fields"),
    ("0 * * * * *", "a cron expression has five fields"),
    ("@daily", "a cron expression has five fields"),
    ("0 0 * jan *", "month 'jan': digits"),
    ("0 0 * * mon", "weekday 'mon': digits"),
    ("0 0 * * 7", "weekday '7': from 0 to 6"),
    ("60 * * * *", "minute '60': from 0 to 59"),
    ("0 9-5 * * *", "hour '9-5': from 0 to 23"),
    ("0 0 0 * *", "day '0': from 1 to 31"),
    ("*/7 * * * *", "minute '*/7': a step has to divide 60"),
    ("*/0 * * * *", "minute '*/0': a step has to divide 60"),
    ("0 1,*/5 * * *", "hour '*/5': a step has to divide 24"),
]
SECRETS = [
    (WEB, WEB + "        parameters: {a: '${MONGODB_URI}'}\n", "tokens/mint: parameters.a: belongs under environment"),
    (
        WEB,
        WEB + "        parameters: {a: [{b: '${TICK_MS}'}]}\n",
        "tokens/mint: parameters.a: belongs under environment",
    ),
    (WEB, WEB + "        parameters: ${LIST}\n", "tokens/mint: parameters.*: belongs under environment"),
    (WEB, WEB + "        parameters: {api_key: x}\n", "tokens/mint: parameters.api_key: belongs under environment"),
    (WEB, WEB + "        parameters: {CHAIN_ID: x}\n", "tokens/mint: environment.CHAIN_ID: is a parameter too"),
    (
        WEB,
        WEB + "        annotations: {a: '${MONGODB_URI}'}\n",
        "tokens/mint: annotations.a: belongs under environment",
    ),
    (WEB, WEB + "        annotations: {raw-http: true}\n", "tokens/mint: raw-http: is set by web and webSecure only"),
    (
        "    functions:",
        "    parameters: $(MONGODB_URI)\n    functions:",
        "tokens: parameters.MONGODB_URI: belongs under",
    ),
    (
        "packages:",
        "parameters: {password: x}\npackages:",
        "project.yml: parameters.password: belongs under environment",
    ),
    ("'${MONGODB_URI}'", "mongodb://u:p@host", "environment.MONGODB_URI: a secret comes from the environment, as '${M"),
]


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        *KEYS, *NAMES, *VALUES_AND_TEMPLATES, *LIMITS, *WEB_AND_SCHEDULE, *TRIGGERS, *SECRETS,
        *((CRON, f'cron: "{cron}"', f"sourceDetails.cron: {said}") for cron, said in CRONS),
    ],
)  # fmt: skip
def test_a_bad_project_file_is_refused(project: Path, old: str, new: str, refusal: str) -> None:
    """Each rule is one line that names the place in project.yml."""
    assert old in GOOD
    (project / "project.yml").write_text(GOOD.replace(old, new, 1))
    found = problems(project, VALUES)
    assert any(refusal in line for line in found), found
    assert all("\n" not in line for line in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'137'", "off"),  # a word to the deployer, whatever YAML 1.1 says
        ("'137'", "'${|MULTI}'"),
        ("'137'", '"${MULTI}"'),
        ("'137'", "'${RESCANNED}'"),
        ("environment:", "environment: # ${TICK_MS}"),
        (WEB, WEB + "        webSecure: '${WEB_SECURE}'\n"),
        (WEB, WEB + "        webSecure: false\n"),
        (WEB, WEB + "        parameters: {page: {size: 20}}\n"),
        (CRON, 'cron: "*/15 0-12/6 1,15 */3 1-5", withBody: {a: 1}'),
        ("packages:", "targetNamespace: {production: fn-1}\npackages:"),
        ("packages:", "environment: $(TICK_MS)\npackages:"),
        ("packages:", "environment: ${<values.env}\npackages:"),
    ],
)
def test_what_the_deployer_takes_passes(project: Path, old: str, new: str) -> None:
    """Every form of substitution, a secret of the gateway's, and all of cron that both sides know."""
    (project / "values.env").write_text("A=1\n")
    (project / "project.yml").write_text(GOOD.replace(old, new, 1))
    assert problems(project, {**VALUES, "MULTI": "a\nb", "RESCANNED": "${NOT_SET}"}) == []


@pytest.mark.parametrize(
    ("path", "content", "refusal"),
    [
        ("packages/tokens/burn.py", "", "packages/tokens/burn.py: would be deployed as a function of its own"),
        ("packages/notes.txt", "", "packages/notes.txt: is no package"),
        ("packages/tokens/burn/__main__.py", "", "tokens/burn is on disk but not in project.yml"),
        ("packages/tokens/burn/inner/x.py", "", "packages/tokens/burn: a function's folder holds a file at its top"),
        ("packages/tokens/mint/build.sh", "", "tokens/mint: build.sh: a function has no build of its own"),
        ("packages/tokens/mint/package.json", "", "tokens/mint: package.json: a function has no build of its own"),
        ("packages/tokens/mint/.ignore", "", "tokens/mint: .ignore: cannot stand beside .include"),
        ("packages/tokens/mint/.include", "\n", "tokens/mint: .include: does not list __main__.py"),
        ("packages/tokens/mint/.include", "# a list\n", ".include: # a list: is not there (a comment is a path too)"),
        ("packages/tokens/mint/.include", "/etc/passwd\n", ".include: /etc/passwd: an absolute path"),
        ("packages/tokens/mint/.include", "../tick\n", ".include: ../tick: .. leads to ../../../lib/ only"),
        ("packages/tokens/mint/.include", "../../../library\n", ".. leads to ../../../lib/ only"),
        ("packages/tokens/mint/.include", "../../../lib/../ops\n", ".. leads to ../../../lib/ only"),
        ("packages/tokens/mint/.include", "../../../lib/none\n", "../../../lib/none: is not there; run ./doit package"),
        ("lib/.include", "", "lib/.include: the deployer refuses it there"),
        ("lib/.ignore", "", "lib/.ignore: the deployer refuses it there"),
    ],
)
def test_a_bad_folder_is_refused(project: Path, path: str, content: str, refusal: str) -> None:
    """Each rule for packages/ and lib/ is one line that names the file."""
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text(content)
    found = problems(project, VALUES)
    assert any(refusal in line for line in found), found


def test_links_missing_lists_and_idle_scripts_are_refused(project: Path) -> None:
    """What a new file cannot show: a link, a list that is gone, a build that cannot run."""
    (project / "packages/tokens/mint/words.py").symlink_to(project / "project.yml")
    (project / "packages/tokens/tick/.include").unlink()
    (project / "lib/build.sh").chmod(0o644)
    assert problems(project, VALUES) == [
        "lib/build.sh: has to be executable",
        "tokens/mint: words.py: a link does not survive the platform's unpacking",
        "tokens/tick: .include: has to be there: without it everything in the folder is packed",
    ]


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        (".env", "must not be packed"),
        ("getsmart/__pycache__/web.pyc", "must not be packed"),
        ("virtualenv/lib/bson/tests/x.py", "must not be packed"),
        ("requirements.txt", "must not be packed"),
        ("getsmart/web.py~", "is left out by the deployer"),
        ("getsmart/_tmp_/x.py", "is left out by the deployer"),
    ],
)
def test_a_stray_in_a_zip_is_refused(name: str, refusal: str) -> None:
    """What must not be packed, and what would silently be missing."""
    assert packed_problems(["__main__.py", "getsmart/web.pyc", name]) == [f"{name}: {refusal}"]


def test_a_zip_has_an_entry_and_company() -> None:
    """One file alone is not sent as a zip, and without the entry nothing starts."""
    assert packed_problems(["a.py"]) == [
        "__main__.py: has to be at the top of the zip",
        "a.py: a single file is sent as text, without a zip",
    ]


ENV = """
# a comment
PLAIN=a b # the rest is a comment
export QUOTED='a # b'
DOUBLE="a\\nb"
EMPTY=
HASH=mongodb://u:p#w@host
COLON: value
"""


def test_an_env_file_is_read_as_the_deployer_reads_it(tmp_path: Path) -> None:
    """Quotes, comments and what `#` does to a value without quotes; and JSON in place of lines."""
    path = tmp_path / ".env"
    path.write_text(ENV)
    read = {"PLAIN": "a b", "QUOTED": "a # b", "DOUBLE": "a\nb", "EMPTY": "", "HASH": "mongodb://u:p", "COLON": "value"}
    assert values_of(path) == read
    assert values_of(path, {"EMPTY": "now", "PLAIN": ""}) == {**read, "EMPTY": "now"}
    path.write_text('{"A": 1, "B": "x"}')
    assert values_of(path) == {"A": "1", "B": "x"}
    path.write_text("[1]")
    assert values_of(path) == {}


@pytest.mark.usefixtures("built")
def test_package_check_refuses_before_it_builds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`./doit package --check --env FILE` says, a line each, what would stop the deployment with those values."""
    env = tmp_path / ".env"
    env.write_text("MONGODB_URI=x\n")
    assert package.main(["--check", "--env", str(env)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith("package: project.yml:") and line.endswith("is unset or empty") for line in said)
    assert any("METAKEEP_API_SECRET" in line for line in said)
    assert package.main(["--check", "--env", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == "package: none: cannot be read: No such file or directory\n"


def test_an_address_by_dns_is_refused(repository: Path) -> None:
    """A managed database's console gives mongodb+srv://, and functions cannot resolve it: a page says what helps."""
    values = values_of(repository / ".env.example") | {"MONGODB_URI": "mongodb+srv://u:p@db.mongo.ondigitalocean.com/"}
    (problem,) = problems(repository, values)
    assert problem.startswith("MONGODB_URI is mongodb+srv://")
    heading = re.search(r'docs/deploy.md, "(.+)"', problem)
    assert heading
    assert f"## {heading[1]}\n" in (repository / "docs/deploy.md").read_text()


def test_a_project_without_its_file_is_one_line(tmp_path: Path) -> None:
    """An empty folder is refused, not stumbled over."""
    assert any("project.yml" in line for line in problems(tmp_path, {}))

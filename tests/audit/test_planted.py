"""Each planted problem is found, under an id that can be accepted; what is as it should be is not."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from getsmart import config, mongo
from local.database import EmbeddedDatabase
from ops import keys, migrations
from ops.audit import __main__ as audit
from ops.audit import code, database, dependencies, gateway, licences
from ops.audit.findings import NotChecked
from ops.gateway import generate
from tests.gateway import gate, own_machine
from tests.support import Client

Answer = Callable[[str, Any], Any]


@pytest.fixture
def advisories() -> Iterator[Callable[[Answer], str]]:
    """A source of advisories on this machine: answers JSON to a path and what was posted."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    sent = gzip.decompress(sent)
                body = json.dumps(answer(self.path, json.loads(sent or b"null"))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _do  # noqa: N815 - the names are the standard library's

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def lock(root: Path, *pins: str) -> Path:
    """A tree with a Python lock."""
    (root / "requirements").mkdir()
    (root / "requirements/dev.txt").write_text("\n".join(pins) + "\n")
    return root


def test_a_vulnerable_python_package(advisories: Callable[[Answer], str], tmp_path: Path) -> None:
    """An advisory in OSV's form that holds for the locked version is found; one that is fixed there is not."""

    def answer(_path: str, asked: Any) -> Any:
        name = asked["package"]["name"]
        events = [{"introduced": "0"}, {"fixed": "2.0"}]
        affected = [
            {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        ]
        advisory = {"id": "PYSEC-2026-1", "summary": "planted", "affected": affected}
        return {"vulns": [advisory]} if (name, asked["version"]) == ("left", "1.0") else {}

    root = lock(tmp_path, "left==1.0", "right==2.0")
    found = list(dependencies.python(root, advisories(answer)))
    assert [one.id for one in found] == ["advisory:PYSEC-2026-1:left"]
    assert "fixed in 2.0" in found[0].what


def test_advisories_that_cannot_be_reached_are_not_passed_over(tmp_path: Path) -> None:
    """No answer is no good news: the part counts as not looked at."""
    root = lock(tmp_path, "left==1.0")
    with pytest.raises(NotChecked, match="no advisories from http"):
        list(dependencies.python(root, "http://127.0.0.1:9/v1/query"))


def test_a_vulnerable_npm_package(
    advisories: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What npm's own audit says is found; without its source the part counts as not looked at."""
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "npm's audit is tested with npm"
        pytest.skip("needs npm")
    folder = tmp_path / dependencies.NODE
    folder.mkdir(parents=True)
    manifest = {"name": "x", "version": "1.0.0", "dependencies": {"left": "1.0.0"}}
    package = {"version": "1.0.0", "resolved": "http://127.0.0.1:9/left.tgz", "integrity": "sha512-AA=="}
    content = {"lockfileVersion": 3, "packages": {"": manifest, "node_modules/left": package}}
    (folder / "package.json").write_text(json.dumps(manifest))
    (folder / "package-lock.json").write_text(json.dumps({"name": "x", "version": "1.0.0", **content}))

    def answer(path: str, _asked: Any) -> Any:
        advisory = {
            "id": 1,
            "url": "https://github.com/advisories/GHSA-aaaa-bbbb-cccc",
            "title": "planted",
            "severity": "high",
            "vulnerable_versions": "<2.0.0",
        }
        return {"left": [advisory]} if "advisories/bulk" in path else {"name": "left", "versions": {"1.0.0": {}}}

    monkeypatch.setenv("npm_config_registry", advisories(answer))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    assert [one.id for one in dependencies.node(tmp_path)] == ["advisory:GHSA-aaaa-bbbb-cccc:left"]
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(NotChecked, match="no advisories from npm"):
        list(dependencies.node(tmp_path))


def test_a_secret_that_was_taken_out_again(tmp_path: Path) -> None:
    """What one commit added and the next removed is still in the history; a lock's hashes are left out."""

    def git(*words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    planted = 'aws = "' + "AKIA" + 'IOSFODNN7EXAMPLQ"\n'
    for name, text in (("settings.py", planted), ("some.lock", planted)):
        (tmp_path / name).write_text(text)
    git("add", ".")
    git("commit", "-qm", "in")
    (tmp_path / "settings.py").write_text("aws = None\n")
    git("commit", "-qam", "out")
    git("clone", "-q", "--depth", "1", f"file://{tmp_path}", "shallow")
    found = [one.id for one in code.history([r"\.lock$"], [], tmp_path)]
    assert [one.rpartition(":")[0] for one in found] == ["history:settings.py"]
    with pytest.raises(NotChecked, match="the history is not here"):
        list(code.history([], [], tmp_path / "shallow"))


def test_unsafe_code(tmp_path: Path) -> None:
    """What bandit calls medium or worse is found, with its rule, file and line."""
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops/bad.py").write_text("import pickle\n\n\ndef load(text):\n    return pickle.loads(text)\n")
    (found,) = code.static(tmp_path)
    assert found.id == "bandit:B301:ops/bad.py"
    assert found.what.startswith("ops/bad.py:5: ")


def test_a_forbidden_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed under a licence off the list is found."""
    info = tmp_path / "planted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: planted\nVersion: 1.0\nLicense-Expression: SSPL-1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "licence:planted" in {one.id for one in licences.python()}


@pytest.mark.parametrize(
    ("expression", "is_allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("GPL-2.0-only AND CC-BY-4.0", False),
        ("BSD License; Public Domain", True),
        ("BSD License; GNU General Public License v3 (GPLv3)", False),
        ("(MIT OR CC0-1.0)", True),
        ("GNU General Public License v3 or later (GPLv3+)", False),
        ("UNKNOWN", False),
    ],
)
def test_which_licences_may_be(expression: str, is_allowed: bool) -> None:
    """Of several that may be chosen one is enough; of several that hold together, each has to be on the list."""
    assert licences.is_allowed(expression) is is_allowed


def test_an_npm_package_under_another_licence(tmp_path: Path) -> None:
    """The lock names each package's licence; one that names none is found too."""
    (tmp_path / "ops/node").mkdir(parents=True)
    packages = {"": {"license": "MIT"}, "node_modules/a": {"version": "1", "license": "SSPL-1.0"}, "node_modules/b": {}}
    (tmp_path / "ops/node/package-lock.json").write_text(json.dumps({"packages": packages}))
    assert [one.id for one in licences.node(tmp_path)] == ["licence:npm:a", "licence:npm:b"]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("X-Content-Type-Options nosniff", "X-Content-Type-Options none", "nosniff"),
        ("ssl-min-ver TLSv1.2 no-tls-tickets", "ssl-min-ver TLSv1.1 no-tls-tickets", "tls-min"),
        ("max-age=63072000", "max-age=600", "hsts"),
        ("del-header X-Require-Whisk-Auth", "del-header X-Other", "guard-in"),
        ("del-header Server", "del-header X-Server", "server"),
        ("wait-for-body time 15s", "wait-for-body time 0", "wait"),
        ("if { sc_conn_cur(0) gt 40 }", "", "at-a-time"),
        ("if { sc_conn_cur(2) gt 60 }", "", "uploads"),
        ("!{ req.hdr(Content-Length) -m found }", "", "length"),
    ],
)
def test_a_weak_gateway(old: str, new: str, key: str) -> None:
    """The configuration of each environment is as it should be; weakened in one line, that line is found."""
    assert list(gateway.written()) == []
    text = generate.render(own_machine(), name="staging")[generate.CONFIG]
    assert old in text
    assert [one.id for one in gateway.of_configuration(text.replace(old, new), "staging")] == [f"gateway:staging:{key}"]


def test_a_gateway_that_runs() -> None:
    """Behind the real HAProxy an answer has every header; plain HTTP is found; nobody there is not looked at."""
    with gate() as running:
        assert [one.id for one in gateway.live(running.there.public)] == [f"gateway:{running.there.public}:tls"]
    with pytest.raises(NotChecked, match="does not answer"):
        list(gateway.live("http://127.0.0.1:9"))
    bare = {"Server": "nginx", "Strict-Transport-Security": "max-age=600"}
    found = {one.id.rpartition(":")[2] for one in gateway.of_headers(bare, "x")}
    assert found >= {"server", "strict-transport-security", "x-frame-options", "content-security-policy"}


def test_a_log_or_a_socket_that_says_too_much() -> None:
    """Logged headers and a runtime socket that listens to everybody are found."""
    text = 'stats socket *:9999 level admin\nlog-format "%[capture.req.hdr(0)] %hr"\n'
    found = {one.id for one in gateway.of_configuration(text, "x")}
    assert found >= {"gateway:x:log", "gateway:x:admin"}


def test_a_key_without_an_end_and_one_that_nobody_uses(
    app: Client, system: Database[dict[str, Any]], database_uri: str
) -> None:
    """Without expiry and live, or of any mode that may move something; not used for 90 days. Not one that is over."""
    now = datetime.now(UTC)
    soon, over = now + timedelta(days=30), now - timedelta(days=1)
    endless = keys.create(client_id="a", scopes=["wallets:read"], mode="live")
    mover = keys.create(client_id="a", scopes=["wallets:read", "tokens:mint"], mode="test")
    fresh = keys.create(client_id="a", scopes=["wallets:read"], mode="live", expires_at=soon)
    old = keys.create(client_id="a", scopes=["wallets:read"], mode="live", expires_at=over)
    keys.create(client_id="a", scopes=["wallets:read"], mode="test")
    assert app.get("tokens/info").status == 200
    app_key = app.token.split("_")[2]
    found = {one.id for one in database.keys(database_uri, "tests", now)}
    assert {one for one in found if app_key not in one} == {f"key:{one.key_id}:endless" for one in (endless, mover)}
    later = {one.id for one in database.keys(database_uri, "tests", now + timedelta(days=91))}
    assert f"key:{endless.key_id}:unused" in later
    assert not any(fresh.key_id in one or old.key_id in one for one in later)
    with pytest.raises(NotChecked, match="does not answer"):
        list(database.keys("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100", "tests"))


def test_a_database_user_who_may_too_much(tmp_path: Path, database_uri: str) -> None:
    """A server that asks for passwords: the functions' user has readWrite on its database and nothing else."""
    assert [one.id for one in database.user(database_uri, "tests")] == ["database:nobody"]
    server = EmbeddedDatabase(tmp_path)
    roles = {
        "good": [{"role": "readWrite", "db": "tests"}],
        "root": [{"role": "root", "db": "admin"}],
        "other": [{"role": "readWrite", "db": "tests"}, {"role": "readWrite", "db": "elsewhere"}],
        "schema": [{"role": "readWrite", "db": "tests"}, {"role": "dbAdmin", "db": "tests"}],
    }
    uri = server.start()
    try:
        with MongoClient[dict[str, Any]](uri) as client:
            for name, given in roles.items():
                client.admin.command("createUser", name, pwd="made-up", roles=given)  # pragma: allowlist secret
        found = {
            name: [one.id for one in database.user(uri.replace("//", f"//{name}:made-up@"), "tests")] for name in roles
        }
    finally:
        server.stop()
    assert found == {
        "good": [],
        "root": ["database:root@admin"],
        "other": ["database:readWrite@elsewhere"],
        "schema": ["database:dbAdmin@tests"],
    }


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_deployment_that_is_well_kept_is_clean(
    environment: dict[str, str],
    advisories: Callable[[Answer], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of the audit, each part looked at: the functions' own user, a key with an end, advisories of a stand-in.

    It has none: what the real sources know is between them and the locks.
    """
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "the whole audit is tested with npm"
        pytest.skip("needs npm")
    source = advisories(lambda _path, _asked: {})
    for name, value in {"OSV_URL": source, "npm_config_registry": source, "npm_config_cache": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    server = EmbeddedDatabase(tmp_path / "database")
    uri = server.start()
    try:
        migrations.up(uri, environment["MONGODB_DATABASE"])
        roles = [{"role": "readWrite", "db": environment["MONGODB_DATABASE"]}]
        with MongoClient[dict[str, Any]](uri) as client:
            client.admin.command("createUser", "functions", pwd="made-up", roles=roles)  # pragma: allowlist secret
        monkeypatch.setenv("MONGODB_URI", uri.replace("//", "//functions:made-up@"))
        config.forget()
        mongo.forget()
        soon = datetime.now(UTC) + timedelta(days=30)
        keys.create(client_id="a", scopes=["tokens:mint"], mode="live", expires_at=soon)
        sections = audit.audit(audit.checks(os.environ), datetime.now(UTC))
    finally:
        mongo.forget()
        server.stop()
    assert [(one.name, one.findings, one.not_checked) for one in sections if one.findings or one.not_checked] == []
    assert len(sections) == 9

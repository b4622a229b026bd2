"""Each step of a rotation: what it does to the env file, and when it refuses because somebody would be locked out."""

import io
import re
import stat
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from getsmart.metakeep.signing import SigningKey
from getsmart.outbound.signing import fingerprint
from getsmart.stores import controls
from local.database import EmbeddedDatabase
from local.sandbox.credentials import random_secret, random_webhook_secret
from ops import keys
from ops.deployer_template import read_env
from ops.rotate import __main__ as rotate
from ops.rotate import envfile, lists, single
from ops.rotate.envfile import Refused
from tests.money import Bench
from tests.support import Client

OLD = random_secret()
OLD_KEY = SigningKey.from_secret(OLD).public_key


@pytest.fixture
def env(tmp_path: Path, database_uri: str) -> Path:
    """An env file as a deployment reads it."""
    file = tmp_path / "env"
    file.write_text(
        f"# kept\nMONGODB_URI={database_uri}\nMONGODB_DATABASE=tests\n"
        f"METAKEEP_API_KEY={OLD_KEY}\nMETAKEEP_API_SECRET={OLD}\n"
        f"WEBHOOK_SECRET_KEYS={'0' * 64}\nWEB_SECURE=shared-by-both-colours\n"
        f"METAKEEP_WEBHOOK_SENDER_KEYS={OLD_KEY}\nMETAKEEP_WEBHOOK_SECRETS={random_webhook_secret()}\n"
        "BACKUP_RECIPIENTS=age1old\nLOG_DESTINATIONS=[]\n"
    )
    return file


@pytest.fixture
def run(env: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Make a step with a value on standard input; what it said, after its exit code."""

    def make(*words: str, value: str = "") -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{value}\n"))
        code = rotate.main([*words, "--env", str(env), "--wait", "0"])
        said = capsys.readouterr()
        problem = said.err.removeprefix("database tests\n")
        return f"{code} {said.out}{problem}"

    return make


NEW = {
    "metakeep": random_secret(),
    "webhook-keys": "",
    "metakeep-webhook-key": SigningKey.from_secret(random_secret()).public_key,
    "metakeep-webhook-secret": random_webhook_secret(),
    "backup": "age1new",
}


@pytest.mark.parametrize("name", sorted(lists.LISTS))
def test_a_list_goes_from_the_old_one_to_the_new_one(name: str, env: Path, run: Callable[..., str], raw: Any) -> None:
    """Never without the old one before the last step; nothing else in the file changes; no value is printed."""
    listed = lists.LISTS[name]
    variable = listed.variables[-1]
    (old,) = envfile.items(env, variable)
    raw.transactions.delete_many({})
    said = [run(name, "add", value=NEW[name])]
    first, second = envfile.items(env, variable)
    assert first == old != second
    if listed.makes:
        said.append(run(name, "switch"))
        assert envfile.items(env, variable) == [second, old]
    said.append(run(name, "drop"))
    assert envfile.items(env, variable) == [second]
    assert [one[:2] for one in said] == ["0 "] * len(said)
    assert not any(value in "".join(said) for value in (old, second))
    assert env.read_text().startswith("# kept\n")
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    rest = {key: value for key, value in read_env(env).items() if key not in listed.variables}
    assert rest["LOG_DESTINATIONS"] == "[]"


@pytest.mark.parametrize(
    ("words", "value", "said"),
    [
        (("metakeep", "drop"), "", "there is only one: begin with add"),
        (("metakeep", "switch"), "", "there is only one"),
        (("metakeep", "replace"), "", "has the steps add, switch, drop"),
        (("backup", "switch"), "", "has the steps add, drop"),
        (("metakeep", "add"), "not base64url", "rotate: "),
        (("metakeep-webhook-key", "add"), "AAAA", "not a compressed P-256 point"),
        (("metakeep-webhook-secret", "add"), "whsec_AAAA", "24 bytes or more"),
        (("backup", "add"), "ssh-ed25519 x", "not an age recipient"),
        (("log-destinations", "replace"), '[{"elsewhere":{"token":"x"}}]', "a list of sinks"),
        (("log-destinations", "replace"), '[{"logtail":{}}]', "a list of sinks"),
        (("log-destinations", "replace"), "{", "rotate: "),
        (("web-secure", "replace"), "", "--colour"),
        (("access-keys", "replace"), "", "--colour, and --env with an environment"),
        (("database", "add"), "", "MONGODB_ADMIN_URI"),
        (("api-key", "replace"), "", "--key"),
    ],
)
def test_what_is_refused_changes_nothing(
    words: tuple[str, ...], value: str, said: str, env: Path, run: Callable[..., str], environment: Any
) -> None:
    """A step out of turn, or a value of another form, is one clear line."""
    before = env.read_text()
    answer = run(*words, value=value)
    assert answer.startswith("1 ")
    assert said in answer
    assert len(answer.splitlines()) == 1
    assert env.read_text() == before


@pytest.mark.parametrize("name", [name for name, listed in lists.LISTS.items() if listed.makes])
def test_a_step_out_of_turn_never_takes_the_new_one(name: str, env: Path, run: Callable[..., str], raw: Any) -> None:
    """`drop` without `switch` would lose the key that was added, and a second `switch` would bring the old one back."""
    raw.transactions.delete_many({})
    variable = lists.LISTS[name].variables[0]
    (old,) = envfile.items(env, variable)
    run(name, "add", value=NEW[name])
    (_, new) = envfile.items(env, variable)
    assert run(name, "drop") == "1 rotate: the new one is not in use, and would go: switch comes first\n"
    assert envfile.items(env, variable) == [old, new]
    assert f"switch is done, {envfile.mark(new)} is used for what is new" in run(name, "switch")
    assert run(name, "switch") == "1 rotate: switch is done already: deploy it everywhere, then drop\n"
    assert envfile.items(env, variable) == [new, old]
    assert f"drop is done, {envfile.mark(old)} is gone" in run(name, "drop")
    assert envfile.items(env, variable) == [new]
    assert "# rotate" not in env.read_text()


def test_where_nobody_knows_which_is_the_new_one_nothing_goes(env: Path, run: Callable[..., str], raw: Any) -> None:
    """A file that was made anew does not say it: whoever knows writes it down, in the words that are printed."""
    raw.transactions.delete_many({})
    new = SigningKey.from_secret(NEW["metakeep"]).public_key
    envfile.change(env, {"METAKEEP_API_KEY": f"{new},{OLD_KEY}", "METAKEEP_API_SECRET": f"{NEW['metakeep']},{OLD}"})
    said = run("metakeep", "drop")
    line = f"# rotate METAKEEP_API_KEY: {envfile.mark(new)} is the new one"
    assert said.startswith("1 rotate: env does not say which one is new: write a line into it, `" + line)
    env.write_text(f"{env.read_text()}{line}\n")
    assert run("metakeep", "drop").startswith("0 ")
    assert envfile.items(env, "METAKEEP_API_KEY") == [new]


def test_a_last_line_without_its_end_stays_whole(env: Path) -> None:
    """What is added is a line of its own; of two lines of a variable the one that counts is changed."""
    env.write_text("A=1\nexport A=2\nLAST=kept")
    envfile.change(env, {"A": "3", "NEW": "4"})
    assert read_env(env) == {"A": "3", "LAST": "kept", "NEW": "4"}
    assert env.read_text() == "A=1\nA='3'\nLAST=kept\nNEW='4'\n"


def test_nobody_writes_over_what_another_one_wrote(env: Path) -> None:
    """A value that was changed since it was read is told, and stays; so does a file of another form."""
    name = "METAKEEP_API_KEY"
    with pytest.raises(Refused, match="METAKEEP_API_KEY in env was changed meanwhile"):
        envfile.change(env, {name: "mine"}, was={name: "as it was read"})
    assert envfile.items(env, name) == [OLD_KEY]
    with ThreadPoolExecutor(8) as several:
        list(several.map(lambda number: envfile.change(env, {f"V{number}": "x"}), range(40)))
    assert {f"V{number}" for number in range(40)} <= read_env(env).keys()
    assert [path.name for path in env.parent.iterdir()] == ["env"]
    env.write_text(f'{{"{name}": "one", "B": "two"}}')
    with pytest.raises(Refused, match="change it by hand"):
        envfile.change(env, {name: "another"})
    assert read_env(env) == {name: "one", "B": "two"}


def test_two_that_do_not_fit_are_refused(env: Path) -> None:
    """A key without its secret is not shifted about; a rotation is finished before the next begins."""
    envfile.change(env, {"METAKEEP_API_KEY": f"{OLD_KEY},{OLD_KEY}"})
    with pytest.raises(Refused, match="not equally long"):
        lists.take(lists.LISTS["metakeep"], "drop", env)
    envfile.change(env, {"METAKEEP_API_SECRET": f"{OLD},{OLD}"})
    with pytest.raises(Refused, match="there are two already"):
        lists.take(lists.LISTS["metakeep"], "add", env, OLD)
    with pytest.raises(Refused, match="single quote"):
        envfile.change(env, {"X": "it's"})


def test_metakeeps_key_stays_while_something_may_have_to_be_sent_with_it(
    bench: Bench, env: Path, run: Callable[..., str]
) -> None:
    """What waits, what is unknown without MetaKeep's id, and a key that signed a moment ago: nothing is dropped."""
    run("metakeep", "add", value=NEW["metakeep"])
    run("metakeep", "switch")
    minted = bench.mint()
    ident, rows = bench.row(minted)["_id"], bench.raw.transactions
    rows.update_one({"_id": ident}, {"$set": {"request.signer": OLD_KEY}})
    assert "1 open sends still need the oldest of METAKEEP_API_KEY" in run("metakeep", "drop")
    long_ago = datetime.now(UTC) - timedelta(minutes=2)
    rows.update_one({"_id": ident}, {"$set": {"created_at": long_ago, "status": "queued"}})
    assert run("metakeep", "drop").startswith("1 ")
    unknown = {"$set": {"status": "unknown", "send_started_at": long_ago}, "$unset": {"metakeep_transaction_id": ""}}
    rows.update_one({"_id": ident}, unknown)
    assert run("metakeep", "drop").startswith("1 ")
    rows.update_one({"_id": ident}, {"$set": {"send_started_at": datetime.now(UTC) - timedelta(minutes=16)}})
    assert run("metakeep", "drop").startswith("0 ")
    assert envfile.items(env, "METAKEEP_API_SECRET") == [NEW["metakeep"]]


def test_a_master_key_stays_while_an_endpoint_signs_with_it(
    app: Client, system: Database[dict[str, Any]], env: Path, run: Callable[..., str]
) -> None:
    """An endpoint that signs with the old key keeps it, until its client has rotated and the overlap is over."""
    old = envfile.items(env, "WEBHOOK_SECRET_KEYS")[0]
    made = app.post("webhooks/endpoints", {"url": "https://example.com/hook"}).data
    version = {"secrets.0.master": fingerprint(old)}
    system.endpoints.update_one({"_id": made["endpoint_id"]}, {"$set": version})
    run("webhook-keys", "add")
    run("webhook-keys", "switch")
    assert "1 endpoints still need the oldest of WEBHOOK_SECRET_KEYS" in run("webhook-keys", "drop")
    over = {"secrets.0.expires_at": datetime.now(UTC) - timedelta(seconds=1)}
    system.endpoints.update_one({"_id": made["endpoint_id"]}, {"$set": over})
    assert run("webhook-keys", "drop").startswith("0 ")


def test_an_api_key_gets_a_successor_like_itself(system: Database[dict[str, Any]], run: Callable[..., str]) -> None:
    """Same client, scopes, limits and addresses; it ends in a year, and the old one after the overlap."""
    old = keys.create(client_id="academy", scopes=["tokens:read"], limits={"per_second": 5}, allowed_ips=["10.0.0.0/8"])
    said = run("api-key", "replace", "--key", old.key_id, "--overlap-hours", "2").split()
    was, new = (system.api_keys.find_one({"_id": ident}) for ident in (old.key_id, said[1]))
    assert was
    assert new
    same = ("client_id", "scopes", "limits", "allowed_ips", "mode")
    assert [new[name] for name in same] == [was[name] for name in same]
    assert timedelta(hours=1.9) < was["expires_at"] - datetime.now(UTC) < timedelta(hours=2)
    assert timedelta(days=364) < new["expires_at"] - datetime.now(UTC) < timedelta(days=366)
    assert Client(said[2]).get("tokens/info").status == Client(old.token).get("tokens/info").status != 401


def test_a_colours_secret_changes_and_the_others_does_not(
    system: Database[dict[str, Any]], env: Path, run: Callable[..., str]
) -> None:
    """What both shared becomes one each; then only the one of the colour that is named is new, which has to be idle."""
    assert run("web-secure", "replace", "--colour", "green").startswith("0 WEB_SECURE_GREEN")
    first = read_env(env)
    assert first["WEB_SECURE_BLUE"] == "shared-by-both-colours" != first["WEB_SECURE_GREEN"]
    serves = run("web-secure", "replace", "--colour", "blue")
    assert serves.startswith("1 rotate: blue serves, and a new secret would take its calls")
    controls.intend("green", "promote", "ada@laptop")
    assert "a promote to green is under way" in run("web-secure", "replace", "--colour", "green")
    assert read_env(env) == first
    assert controls.activate("green", None, "ada@laptop")
    assert run("web-secure", "replace", "--colour", "blue").startswith("0 ")
    second = read_env(env)
    assert second["WEB_SECURE_GREEN"] == first["WEB_SECURE_GREEN"]
    assert second["WEB_SECURE_BLUE"] not in {"shared-by-both-colours", second["WEB_SECURE_GREEN"]}


def test_a_log_sinks_token(env: Path, run: Callable[..., str]) -> None:
    """A list that the platform can read takes the old one's place."""
    assert run("log-destinations", "replace", value='[{"logtail": {"token": "made-up"}}]').startswith("0 ")
    assert read_env(env)["LOG_DESTINATIONS"] == '[{"logtail":{"token":"made-up"}}]'


def test_without_a_step_the_steps_are_said(run: Callable[..., str]) -> None:
    """Whoever forgot how it goes is told, and nothing happens."""
    assert "metakeep: add, then switch, then drop" in run("metakeep")


def test_a_databases_user_that_was_made_elsewhere(
    tmp_path: Path, env: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody may make users by a command, the new user's URI is typed in; it is proven as one of ours is."""
    monkeypatch.delenv("MONGODB_ADMIN_URI", raising=False)
    server = EmbeddedDatabase(tmp_path)
    uri = server.start()
    try:
        with MongoClient[dict[str, Any]](uri) as client:
            for name, role in (("first", "readWrite"), ("second", "readWrite"), ("too-much", "dbOwner")):
                made = [{"role": role, "db": "tests"}]
                client.admin.command("createUser", name, pwd="made-up", roles=made)  # pragma: allowlist secret
        addresses = {
            name: uri.replace("//", f"//{name}:made-up@") for name in ("first", "second", "too-much", "nobody")
        }
        envfile.change(env, {"MONGODB_URI": addresses["first"]})
        assert "has dbOwner@tests" in run("database", "add", value=addresses["too-much"])
        assert "cannot log in" in run("database", "add", value=addresses["nobody"])
        assert read_env(env)["MONGODB_URI"] == addresses["first"]
        said = run("database", "add", value=addresses["second"])
        assert said.startswith("0 ")
        assert "first still works" in said
        assert "made-up" not in said
        assert read_env(env)["MONGODB_URI"] == addresses["second"]
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("wait", "seen", "until"),
    [
        (0, (), 0),
        (0, (0,), 0.5),  # it was just ending
        (0, (0, 0.5, 1, 1.5), 2),
        (10, (0,), 10),
        (10, (3, 9.5), 19.5),  # a tick that came twice and was deployed then: silence counts from its last time
    ],
)
def test_who_was_seen_makes_the_silence_start_anew(
    monkeypatch: pytest.MonkeyPatch, wait: float, seen: Collection[float], until: float
) -> None:
    """A user is dropped once nobody came as it for the whole wait, a connection that was just ending set aside."""
    at = by_the_hand_of(monkeypatch)
    single._await_silence(lambda: {"tick"} if at() in seen else set(), "first", wait)
    assert at() == until


@pytest.mark.parametrize(("wait", "until"), [(0, 2), (10, 10), (120, 150)])
def test_who_still_comes_is_named(monkeypatch: pytest.MonkeyPatch, wait: float, until: float) -> None:
    """After the whole wait, be it every half second or, as a tick, each minute and half a one after the start."""
    at = by_the_hand_of(monkeypatch)
    with pytest.raises(Refused, match=r"first still comes, by tick at here: deploy that"):
        single._await_silence(lambda: {"tick at here"} if wait < 60 or at() % 60 == 30 else set(), "first", wait)
    assert at() == until


def ends_once_seen(client: MongoClient[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections end as soon as somebody has looked for them; the server has its time to notice."""
    look = single._who_comes_as

    def looks(admin: MongoClient[dict[str, Any]], user: str) -> set[str]:
        found = look(admin, user)
        client.close()
        return found

    monkeypatch.setattr(single, "_who_comes_as", looks)
    monkeypatch.setattr(single, "_ENDING_SECONDS", 60.0)


def by_the_hand_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """The seconds since now in what takes databases' users away, where pauses take no time."""
    slept: list[float] = []
    monkeypatch.setattr(single, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))
    return lambda: sum(slept)


def test_the_databases_user(
    tmp_path: Path, env: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second user is made, proven, and takes the first one's place; the first goes once nothing names it."""
    server = EmbeddedDatabase(tmp_path)
    uri = server.start()
    try:
        with MongoClient[dict[str, Any]](uri) as client:
            role = [{"role": "readWrite", "db": "tests"}]
            client.admin.command("createUser", "first", pwd="made-up", roles=role)  # pragma: allowlist secret
        envfile.change(env, {"MONGODB_URI": uri.replace("//", "//first:made-up@")})
        monkeypatch.setenv("MONGODB_ADMIN_URI", uri)
        assert "MONGODB_URI still names first" in run("database", "drop", "--user", "first")
        assert run("database", "add", "--user", "second").startswith("0 ")
        new = read_env(env)["MONGODB_URI"]
        with MongoClient[dict[str, Any]](new) as client:
            client.tests.some.insert_one({})
        assert run("database", "add", "--user", "second").startswith("1 ")
        drop = ("database", "drop", "--user", "first")
        with MongoClient[dict[str, Any]](uri.replace("//", "//first:made-up@"), appname="getsmart-tick") as client:
            client.tests.some.insert_one({})
            assert re.match("1 rotate: first still comes, by (getsmart-tick|a client) at 127.0.0.1:", run(*drop))
            users = client.admin.command("usersInfo")["users"]
            assert sorted(one["user"] for one in users) == ["first", "second"]
        with MongoClient[dict[str, Any]](uri.replace("//", "//first:made-up@")) as client:
            client.tests.some.insert_one({})
            ends_once_seen(client, monkeypatch)
            assert run(*drop).startswith("0 ")
        with MongoClient[dict[str, Any]](uri) as client:
            assert [one["user"] for one in client.admin.command("usersInfo")["users"]] == ["second"]
    finally:
        server.stop()

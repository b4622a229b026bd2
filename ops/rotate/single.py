"""Secrets of which there is one at a time: the new one is proven, then takes the old one's place in the env file."""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ops.audit import database as audit
from ops.audit.findings import NotChecked
from ops.gateway.environment import COLOURS, WEB_SECURE, Colour, secret_name
from ops.pipeline import doctl, environments
from ops.rotate import envfile
from ops.rotate.envfile import Refused

_POLL_SECONDS = 0.5
_ENDING_SECONDS = 2.0  # the server shows a connection for a moment after its program has closed it
# What each sink needs, as the platform documents it.
_SINKS = {"papertrail": {"token"}, "datadog": {"endpoint", "api_key"}, "logtail": {"token"}}


def web_secure(env_file: Path, colour: Colour) -> str:
    """A new random secret between the gateway and one colour; the other colour keeps its own. Returns its variable."""
    known = envfile.values(env_file)
    changes = {secret_name(one): known.get(secret_name(one)) or known.get(WEB_SECURE, "") for one in COLOURS}
    changes[secret_name(colour)] = secrets.token_urlsafe(32)
    envfile.change(env_file, {name: value for name, value in changes.items() if value})
    return secret_name(colour)


def log_destinations(env_file: Path, value: str) -> None:
    """Another list of sinks, checked for its form: the platform passes over what it cannot read. Raises ValueError."""
    sinks = json.loads(value)
    given = sinks if isinstance(sinks, list) else [None]
    for sink in given:
        (name, fields), *more = sink.items() if isinstance(sink, dict) and sink else [("", {})]
        if more or set(fields) != _SINKS.get(name):
            raise ValueError(f"a list of sinks, each one of {', '.join(_SINKS)} with its own fields")
    envfile.change(env_file, {"LOG_DESTINATIONS": json.dumps(sinks, separators=(",", ":"))})


def access_keys(env_file: Path, environment: str, colour: Colour, value: str) -> None:
    """Other access keys for a colour's namespaces, each proven by connecting with it. Raises DoctlFailed."""
    name = f"{environments.ACCESS_KEYS}_{colour.upper()}"
    if not value:
        raise ValueError("no keys")
    there = environments.load(environment)
    for namespace, key in zip(
        there.namespaces[colour], environments.access_keys(there, colour, {name: value}), strict=True
    ):
        doctl.connect(namespace, key)
    envfile.change(env_file, {name: value})


def database_user(env_file: Path, admin_uri: str, name: str, database: str) -> str:
    """Make another user of the database, prove it, and put it into MONGODB_URI. Returns the old user's name.

    Raises Refused when the new one cannot log in, or may do more than it has to.
    """
    uri, password = envfile.value(env_file, "MONGODB_URI"), secrets.token_urlsafe(32)
    old = urlsplit(uri).username
    if old is None:
        raise Refused("MONGODB_URI names no user")
    with MongoClient[dict[str, Any]](admin_uri, serverSelectionTimeoutMS=10_000) as client:
        source = _source(uri)
        try:
            client[source].command("createUser", name, pwd=password, roles=[{"role": "readWrite", "db": database}])
        except OperationFailure as error:
            raise Refused(f"no user {name}: {error.details['codeName'] if error.details else error}") from None
    new = _with_user(uri, name, password)
    if found := list(_proven(new, database)):
        raise Refused("; ".join(found))
    envfile.change(env_file, {"MONGODB_URI": new}, was={"MONGODB_URI": uri})
    return old


def database_address(env_file: Path, uri: str, database: str) -> str:
    """Put the URI of a user that was made elsewhere in, once it is proven. Returns the old user's name, or "it".

    Raises Refused when it cannot log in, or may do more than it has to.
    """
    old = envfile.values(env_file).get("MONGODB_URI", "")
    if found := _proven(uri, database):
        raise Refused("; ".join(found))
    envfile.change(env_file, {"MONGODB_URI": uri}, was={"MONGODB_URI": old} if old else {})
    return urlsplit(old).username or "it"


def drop_database_user(env_file: Path, admin_uri: str, old: str, seconds: float) -> None:
    """Take the old user away, once nobody was seen to log in as it for that long.

    Each colour's tick comes once a minute. Raises Refused while MONGODB_URI still names the user or somebody comes as
    it when as long is over, and where the administrator must not see who does.
    """
    uri = envfile.value(env_file, "MONGODB_URI")
    if urlsplit(uri).username == old:
        raise Refused(f"MONGODB_URI still names {old}")
    with MongoClient[dict[str, Any]](admin_uri, serverSelectionTimeoutMS=10_000) as client:
        _await_silence(lambda: _who_comes_as(client, old), old, seconds)
        client[_source(uri)].command("dropUser", old)


def _await_silence(look: Callable[[], set[str]], user: str, seconds: float) -> None:
    """Return once nobody was seen for that long: who is seen in the meantime makes it start anew.

    Raises Refused with who is seen later than that long after the beginning; a connection may always end first.
    """
    quiet_since = began = time.monotonic()
    while True:
        found, now = look(), time.monotonic()
        if not found and now - quiet_since >= seconds:
            return
        if found and now - began >= max(seconds, _ENDING_SECONDS):
            raise Refused(f"{user} still comes, by {', '.join(sorted(found))}: deploy that, or wait until it ends")
        if found:
            quiet_since = now
        time.sleep(_POLL_SECONDS)


def _who_comes_as(client: MongoClient[dict[str, Any]], user: str) -> set[str]:
    """Program and address of each connection that has logged in as the user. Raises Refused where nobody may ask."""
    try:
        rows = client.admin.command({"currentOp": 1, "$all": True})["inprog"]
    except OperationFailure as error:
        why = error.details["codeName"] if error.details else error
        raise Refused(
            f"who still logs in as {user} cannot be seen ({why}): MONGODB_ADMIN_URI needs the role clusterMonitor, too"
        ) from None
    return {
        f"{row.get('appName', 'a client')} at {row.get('client', 'an address unknown')}"
        for row in rows
        if any(one["user"] == user for one in row.get("effectiveUsers", ()))
    }


def _proven(uri: str, database: str) -> list[str]:
    try:
        return [finding.what for finding in audit.user(uri, database)]
    except (NotChecked, PyMongoError) as error:
        return [f"the new user cannot log in: {error}"]


def _with_user(uri: str, name: str, password: str) -> str:
    parts = urlsplit(uri)
    hosts = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(name, safe='')}:{quote(password, safe='')}@{hosts}"))


def _source(uri: str) -> str:
    """The database that knows the user: authSource, else that of the path, else admin."""
    parts = urlsplit(uri)
    options: Mapping[str, str] = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return options.get("authSource") or parts.path.strip("/") or "admin"

"""Secrets that are lists: a new one is added, comes to the front, and the oldest goes; each step is deployed.

While two colours serve, each has to know what the other makes: so what is new is known everywhere before anything is
made with it, and what is old stays until nothing needs it.
"""

import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pymongo.database import Database

from getsmart.hooks import current
from getsmart.machine.send import HORIZON
from getsmart.metakeep.signing import SigningKey
from getsmart.outbound.signing import fingerprint
from ops.rotate import envfile
from ops.rotate.envfile import Refused, mark

Step = Literal["add", "switch", "drop"]
Data = Database[dict[str, Any]]
LATELY = timedelta(seconds=60)
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Listed:
    """One such secret. With `makes`, what is new comes first and the oldest is the last; else the other way round."""

    variables: tuple[str, ...]
    made_of: Callable[[str], tuple[str, ...]]
    """The values of the variables for what was typed in; raises ValueError."""
    makes: bool
    needed_by: Callable[[Data, str], int]
    """How many rows of the database still need an old value."""
    what: str
    """What those rows are."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        return ("add", "switch", "drop") if self.makes else ("add", "drop")

    @property
    def oldest(self) -> int:
        """Where the oldest stands when it may go."""
        return -1 if self.makes else 0


def open_sends(data: Data, api_key: str) -> int:
    """Rows that may have to be sent, or asked about, under that API key: waiting, or unknown without MetaKeep's id.

    What was signed a moment ago counts too: somebody still signs with it.
    """
    at = datetime.now(UTC)
    unsettled = {"status": "unknown", "metakeep_transaction_id": {"$exists": False}}
    needing: list[dict[str, Any]] = [
        {"status": "queued"},
        {**unsettled, "send_started_at": {"$gt": at - HORIZON}},
        {"created_at": {"$gt": at - LATELY}},
    ]
    return data.transactions.count_documents({"request.signer": api_key, "$or": needing})


def derived_endpoints(data: Data, master: str) -> int:
    """Endpoints with a secret that still signs and is derived from that key."""
    at, name = datetime.now(UTC), fingerprint(master)
    rows = data.endpoints.find({"status": {"$ne": "removed"}, "secrets.master": name}, {"secrets": 1})
    return sum(any(one["master"] == name for one in current(row["secrets"], at)) for row in rows)


def _key_pair(secret: str) -> tuple[str, str]:
    return SigningKey.from_secret(secret).public_key, secret


def _public_key(value: str) -> tuple[str]:
    if len(base64.b64decode(value, validate=True)) != 33:
        raise ValueError("not a compressed P-256 point in base64")
    return (value,)


def _shared_secret(value: str) -> tuple[str]:
    if not value.startswith("whsec_") or len(base64.b64decode(value.removeprefix("whsec_"), validate=True)) < 24:
        raise ValueError("not whsec_ and the base64 of 24 bytes or more")
    return (value,)


def _master(value: str) -> tuple[str]:
    return (value or secrets.token_hex(32),)


def _recipient(value: str) -> tuple[str]:
    if not value.startswith("age1"):
        raise ValueError("not an age recipient: age1...")
    return (value,)


def _nothing(_data: Data, _value: str) -> int:
    return 0


LISTS: Mapping[str, Listed] = {
    "metakeep": Listed(("METAKEEP_API_KEY", "METAKEEP_API_SECRET"), _key_pair, True, open_sends, "open sends"),
    "webhook-keys": Listed(("WEBHOOK_SECRET_KEYS",), _master, True, derived_endpoints, "endpoints"),
    "metakeep-webhook-key": Listed(("METAKEEP_WEBHOOK_SENDER_KEYS",), _public_key, False, _nothing, ""),
    "metakeep-webhook-secret": Listed(("METAKEEP_WEBHOOK_SECRETS",), _shared_secret, False, _nothing, ""),
    "backup": Listed(("BACKUP_RECIPIENTS",), _recipient, False, _nothing, ""),
}


def take(listed: Listed, step: Step, env_file: Path, value: str = "") -> str:
    """Make the step in the env file; what was done, in a few words.

    Raises Refused where it is not safe or was done already, ValueError for a value of another form.
    """
    found = _ready(listed, step, env_file)
    first = listed.variables[0]
    if step == "add":
        new = dict(zip(listed.variables, listed.made_of(value), strict=True))
        found = {name: [*values, new[name]] for name, values in found.items()}
        added: dict[str, str | None] = {first: mark(new[first])}
        said = f"add is done, {added[first]} is the new one"
    elif step == "switch":
        found = {name: [values[-1], *values[:-1]] for name, values in found.items()}
        added = {first: mark(found[first][0])}
        said = f"switch is done, {mark(found[first][0])} is used for what is new"
    else:
        said = f"drop is done, {mark(found[first][listed.oldest])} is gone"
        for values in found.values():
            del values[listed.oldest]
        added = {first: None}
    envfile.change(env_file, {name: ",".join(values) for name, values in found.items()}, added=added)
    return said


def _ready(listed: Listed, step: Step, env_file: Path) -> dict[str, list[str]]:
    """The values of the variables, once it is sure that it is this step's turn. Raises Refused."""
    found = {name: envfile.items(env_file, name) for name in listed.variables}
    sizes = {len(values) for values in found.values()}
    if len(sizes) != 1:
        raise Refused(f"{' and '.join(listed.variables)} are not equally long")
    if step not in listed.steps:
        raise Refused(f"no step {step}: {', '.join(listed.steps)}")
    (size,) = sizes
    if step == "add":
        if size > 1:
            raise Refused("there are two already: finish that rotation with drop")
    elif size < 2:
        raise Refused(f"there is only one: begin with {listed.steps[0]}")
    elif listed.makes and (step == "drop") != _is_new_one_first(env_file, listed.variables[0], found):
        raise Refused(
            "switch is done already: deploy it everywhere, then drop"
            if step == "switch"
            else "the new one is not in use, and would go: switch comes first"
        )
    return found


def _is_new_one_first(env_file: Path, variable: str, found: Mapping[str, list[str]]) -> bool:
    """Whether the value that was added is the one in use. Raises Refused where the file does not say which it is."""
    marks = [mark(value) for value in found[variable]]
    new = envfile.newest(env_file, variable)
    if new not in marks:
        lines = " or ".join(f"`{envfile.note(variable, one)}`" for one in marks)
        raise Refused(f"{env_file.name} does not say which one is new: write a line into it, {lines}, in that order")
    return new == marks[0]


def drain(listed: Listed, env_file: Path, data: Data, seconds: float) -> None:
    """Wait until no row needs the oldest value any more. Raises Refused with how many do when the time is over."""
    old = _ready(listed, "drop", env_file)[listed.variables[0]][listed.oldest]
    until = time.monotonic() + seconds
    while left := listed.needed_by(data, old):
        if time.monotonic() > until:
            raise Refused(f"{left} {listed.what} still need the oldest of {listed.variables[0]}: nothing is changed")
        time.sleep(_POLL_SECONDS)

"""API keys for operators: `./doit keys create|list|revoke`. A secret is shown once and kept only as a digest."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pymongo.errors import PyMongoError

from getsmart import clock
from getsmart.amounts import parse_units
from getsmart.errors import GetSmartError
from getsmart.ids import new_id
from getsmart.models import AuditLine, KeyLimits
from getsmart.services.keys import SCOPES, Order
from getsmart.services.keys import create as create_key
from getsmart.stores import keys
from ops import settings

NO_LIMITS: KeyLimits = {"per_second": None, "per_hour": None}


@dataclass(frozen=True)
class CreatedKey:
    """A new key: its id, and the token that is shown this once."""

    key_id: str
    token: str


def create(
    *,
    client_id: str,
    scopes: Iterable[str],
    mode: Literal["live", "test"] = "test",
    limits: KeyLimits | None = None,
    expires_at: datetime | None = None,
    allowed_ips: Iterable[str] = (),
) -> CreatedKey:
    """Make a key in the configured database. Raises ValueError for an unknown scope, a wrong limit or network."""
    order = Order(client_id, tuple(scopes), mode, limits or {}, expires_at, tuple(allowed_ips))
    row, token = create_key(order, _line("create"))
    return CreatedKey(row["_id"], token)


def _line(what: str) -> AuditLine:
    """Whoever may reach the database by this program is the operator."""
    return {"key_id": "operator", "source": "terminal", "request_id": new_id("req"), "at": clock.now(), "what": what}


def main(arguments: list[str]) -> int:
    """Run one command; exit 0, or 1 with one clear line."""
    options = _parser().parse_args(arguments)
    settings.use(options.env)
    try:
        {"create": _create, "list": _list, "revoke": _revoke}[options.command](options)
    except (GetSmartError, PyMongoError, ValueError) as error:
        print(f"keys: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./doit keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create_command = commands.add_parser("create", help="make a key and show its secret once")
    create_command.add_argument("--client", required=True, help="the integrating application, e.g. academy")
    create_command.add_argument("--scopes", required=True, help="comma separated: " + " ".join(SCOPES))
    create_command.add_argument("--mode", choices=("live", "test"), default="test")
    create_command.add_argument("--per-second", type=int, help="calls in any second (default 10)")
    create_command.add_argument("--per-hour", type=int, help="calls an hour (default 1000)")
    create_command.add_argument("--mint-per-day", type=parse_units, help="GETS that it may mint in a day (UTC)")
    create_command.add_argument(
        "--treasury-per-day", type=parse_units, help="GETS it may pay from the treasury in a day"
    )
    create_command.add_argument("--no-limits", action="store_true", help="no rate limit at all")
    create_command.add_argument("--expires", type=datetime.fromisoformat, help="e.g. 2027-01-31T00:00:00Z")
    create_command.add_argument("--allow-ip", action="append", default=[], help="address or network; repeatable")
    commands.add_parser("list", help="all keys, without secrets")
    commands.add_parser("revoke", help="end a key within 30 s everywhere").add_argument("key_id")
    for command in commands.choices.values():
        settings.option(command)
    return parser


def _create(options: argparse.Namespace) -> None:
    limits: KeyLimits = dict(NO_LIMITS) if options.no_limits else {}  # type: ignore[assignment]
    if options.per_second is not None:
        limits["per_second"] = options.per_second
    if options.per_hour is not None:
        limits["per_hour"] = options.per_hour
    if options.mint_per_day is not None:
        limits["mint_per_day"] = str(options.mint_per_day)
    if options.treasury_per_day is not None:
        limits["treasury_per_day"] = str(options.treasury_per_day)
    expires = options.expires
    settings.say()
    created = create(
        client_id=options.client,
        scopes=[scope.strip() for scope in options.scopes.split(",") if scope.strip()],
        mode=options.mode,
        limits=limits,
        expires_at=expires if expires is None or expires.tzinfo else expires.replace(tzinfo=UTC),
        allowed_ips=options.allow_ip,
    )
    print(f"{created.key_id}\n{created.token}\nThe key is shown this once; keep it now.")


def _list(_options: argparse.Namespace) -> None:
    for row in keys.find_all():
        ends = row["revoked_at"] or row["expires_at"]
        state = "revoked" if row["revoked_at"] else f"until {clock.to_wire(ends)}" if ends else "active"
        used = clock.to_wire(row["last_used_at"]) if "last_used_at" in row else "never"
        print(f"{row['_id']}  {row['client_id']}  {row['mode']}  {state}  last used {used}  {','.join(row['scopes'])}")


def _revoke(options: argparse.Namespace) -> None:
    settings.say()
    if not keys.revoke(options.key_id, clock.now(), _line("revoke")):
        raise ValueError(f"no active key {options.key_id}")
    print(f"{options.key_id} is revoked")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

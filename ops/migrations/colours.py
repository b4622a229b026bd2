"""Who serves on the database, and what that allows: each colour's tick says for which migration its code was made."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from mongomig import MongoMigError
from pymongo.database import Database

from getsmart import clock
from getsmart.stores.controls import COLOUR, TICK

Row = dict[str, Any]
SEEN_WITHIN = timedelta(hours=24)
"""A colour that was seen in this time may have calls again: it counts for what a contract takes away."""
_SERVES_WITHIN = timedelta(minutes=10)
_ALL = ("blue", "green")


class Refused(MongoMigError):
    """A migration that would hurt who serves; nothing was changed."""


def is_served(database: Database[Row]) -> bool:
    """Whether any code of ours has ever worked on this database."""
    row = _row(database)
    return bool(
        row.get("seen")
        or row.get("activated_at")
        or database.controls.find_one({"_id": TICK})
        or database.wallets.find_one({}, {"_id": 1})
    )


def against_contract(row: Mapping[str, Any], number: int, now: datetime) -> list[str]:
    """Why a contract migration must not be applied yet, a line each: whose code needs what it takes away."""
    if "moving" in row:
        move = row["moving"]
        return [f"a {move['kind']} to {move['to']} is under way: ./doit status ENVIRONMENT tells how it ends"]
    active, seen = row.get("active"), row.get("seen", {})
    found = [line for colour in _ALL for line in _too_old(colour, seen.get(colour), number, now, active)]
    report = seen.get(active)
    if report is None:
        return [f"{active} is active and has not said what it was made for: deploy and promote this version", *found]
    if report["at"] <= now - SEEN_WITHIN:
        return [f"{active} is active and was last seen {clock.to_wire(report['at'])}: its tick has stopped", *found]
    return found


def _too_old(
    colour: str, report: Mapping[str, Any] | None, number: int, now: datetime, active: str | None
) -> Iterator[str]:
    if report is None or report["schema_version"] >= number or report["at"] <= now - SEEN_WITHIN:
        return
    wanted = f"{number:04d} asks for {number} or higher"
    if colour == active:
        then = f"deploy and promote a version that has {number:04d}"
    else:
        then = (
            f"deploy such a version to it, too (./doit deploy ENVIRONMENT --colour {colour}), or undeploy it for a day"
        )
    yield (
        f"{colour} runs version {report['version']}, made for schema {report['schema_version']},"
        f" seen {clock.to_wire(report['at'])}; {wanted}: {then}"
    )


def check_contract(database: Database[Row], number: int) -> Row:
    """The row of the colours. Raises Refused when code that serves needs what that contract takes away."""
    row = _row(database)
    if found := against_contract(row, number, clock.now()):
        raise Refused("\n".join(found))
    return row


def raise_lowest(database: Database[Row], number: int, *, is_checked: bool) -> None:
    """From here on only code that was made for that number may have calls. Raises Refused while other code may.

    One update decides: a promotion that begins at the same moment is seen by it, or sees it.
    """
    query: Row = {"_id": COLOUR}
    if is_checked:
        now, row = clock.now(), check_contract(database, number)
        query |= {"active": row["active"], "moving": {"$exists": False}}
        query["$and"] = [
            {
                "$or": [
                    {f"seen.{colour}.schema_version": {"$gte": number}},
                    {f"seen.{colour}.at": {"$lte": now - SEEN_WITHIN}},
                    {f"seen.{colour}": {"$exists": False}},
                ]
            }
            for colour in _ALL
        ]
    if not database.controls.update_one(query, {"$max": {"lowest_schema": number}}).matched_count:
        raise Refused("a colour has changed this moment: repeat the command")


def set_lowest(database: Database[Row], number: int | None) -> None:
    """After an undoing: what the contracts that are still applied ask for, None where there are none."""
    if _row(database).get("lowest_schema") == number:
        return
    change = {"$unset": {"lowest_schema": ""}} if number is None else {"$set": {"lowest_schema": number}}
    database.controls.update_one({"_id": COLOUR}, change)


def against_undoing(row: Mapping[str, Any], number: int, now: datetime) -> list[str]:
    """Why an expand migration must not be undone: who serves with code that was made for it."""
    return [
        f"{colour} serves with version {report['version']}, made for schema {report['schema_version']}, which needs"
        f" {number:04d}: promote or deploy an older version first, or stop it; --force undoes it all the same"
        for colour, report in sorted(row.get("seen", {}).items())
        if report["at"] > now - _SERVES_WITHIN and report["schema_version"] >= number
    ]


def check_undoing(database: Database[Row], numbers: list[int]) -> None:
    """Raises Refused when code that serves needs one of these expand migrations."""
    row, now = _row(database), clock.now()
    if found := [line for number in numbers[-1:] for line in against_undoing(row, number, now)]:
        raise Refused("\n".join(found))


def lines(database: Database[Row]) -> list[str]:
    """What each colour said last, and what the contracts ask for, for `status`."""
    row = _row(database)
    said = [
        f"{colour}{' (active)' if colour == row.get('active') else ''}: version {report['version']}, made for schema"
        f" {report['schema_version']}, seen {clock.to_wire(report['at'])}"
        for colour, report in sorted(row.get("seen", {}).items())
    ]
    lowest = row.get("lowest_schema")
    return [*said, *([f"only code that was made for schema {lowest} or higher may have calls"] if lowest else [])]


def _row(database: Database[Row]) -> Row:
    return database.controls.find_one({"_id": COLOUR}) or {}

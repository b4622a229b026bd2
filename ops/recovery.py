"""The brake: `on` stops all money until `off`, whatever reconciliation finds; `status` tells how it stands.

After `./doit restore` money stands still by itself until reconciliation has come past that moment. `on --restored`
says that the database was put back by something else, and has the same wait for it. `off` is refused before that where
there is a node: what the chain has and the books lack might be done twice. `off --force` goes on all the same; repeated
calls that look like something from before the restore are then held back for a person (docs/reconciliation.md).
"""

import argparse
import getpass
import sys
from collections.abc import Iterator

from pymongo.errors import PyMongoError

from getsmart import chain, clock
from getsmart.errors import GetSmartError
from getsmart.models import RECOVERY, SUPPLY
from getsmart.mongo import Document, database
from getsmart.stores import controls, events, progress
from ops import settings


class Refused(Exception):
    """What was asked for would do harm; the sentence says why."""


def main(arguments: list[str]) -> int:
    """Run one command and tell how it stands then; exit 0, or 1 with one clear line."""
    parser = argparse.ArgumentParser(
        prog="./doit recovery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("on", "off", "status"))
    parser.add_argument("--because", metavar="TEXT", help="on: why, for whoever comes next")
    parser.add_argument("--who", default=getpass.getuser(), help="on: who stops it (default: this system's user)")
    parser.add_argument("--restored", action="store_true", help="on: the database was put back, not by ./doit restore")
    parser.add_argument("--force", action="store_true", help="off: before the chain was read to its head")
    settings.option(parser)
    options = parser.parse_args(arguments)
    if options.command == "on" and not (options.because or "").strip():
        parser.error("on needs --because TEXT")
    settings.use(options.env)
    try:
        if options.command != "status":
            settings.say()
        if options.command == "on":
            _stop(options.who, options.because.strip(), is_restored=options.restored)
        elif options.command == "off":
            _go_on(is_forced=options.force)
        print("\n".join(told(controls.read_all())))
    except (Refused, GetSmartError, PyMongoError) as error:
        print(f"recovery: {error}", file=sys.stderr)
        return 1
    return 0


def _stop(who: str, why: str, *, is_restored: bool) -> None:
    if not {SUPPLY, controls.COLOUR} <= controls.read_all().keys():
        raise Refused("this database holds no supply and no colour: it is empty, or not the one that is meant")
    controls.stop(who, why)
    if is_restored:
        controls.set_recovering(is_recovering=True)
        events.skip_what_was_given(database().sequences, clock.now())


def _go_on(*, is_forced: bool) -> None:
    """A brake that nothing was restored behind needs no chain; a restore does, where there is one to be read."""
    recovery = controls.read_recovery()
    if recovery.get("is_being_restored"):
        raise Refused("a restore is under way, or broke off: ./doit restore ... --force begins it again")
    if recovery.get("is_recovering"):
        has_node = chain.is_configured() or progress.read() is not None
        if has_node and not is_forced:
            raise Refused("the chain was not read past the moment of the restore yet: ./doit reconcile, or off --force")
        controls.end_recovery(recovery["at"], {"is_overshadowed": has_node})
    controls.go_on()


def told(singles: dict[str, Document]) -> Iterator[str]:
    """Whether money moves, and what it waits for, in a line each."""
    recovery, place = singles.get(RECOVERY, {}), singles.get(progress.NAME, {})
    if not controls.stands_still(recovery):
        yield "not recovering: money moves"
    if stopped := recovery.get("stopped"):
        since = clock.to_wire(stopped["at"])
        yield f"stopped by {stopped['by']} since {since}: {stopped['why']}. ./doit recovery off ends it"
    if recovery.get("is_being_restored"):
        yield "being restored: ./doit restore ends it"
    if recovery.get("is_recovering"):
        since, read = clock.to_wire(recovery["at"]), f"{place.get('to_block', '-')} of {place.get('head', '-')}"
        yield f"recovering since {since}: block {read} is read; coming past the restore ends it"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

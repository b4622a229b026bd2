"""`./doit verify`: prove I2 to I5 from the whole database, streamed: constant memory, a progress bar, exit 0 or 1.

Each violation is a line: its invariant, its kind, whom it concerns, and what was expected and found. What changes while
it is read is read again before it is called wrong, so this may run beside the service.
"""

import argparse
import sys
from collections.abc import Sequence

from pymongo.errors import PyMongoError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from getsmart.errors import GetSmartError
from ops import settings
from ops.verification import PARTS, Violation, count, verify

WRONG, UNTOLD = 1, 2
_MOST_SHOWN = 200


def main(arguments: Sequence[str]) -> int:
    """Verify and tell; exit 0 when all holds, 1 when something does not, 2 when it could not be told."""
    parser = argparse.ArgumentParser(
        prog="./doit verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    settings.option(parser)
    options = parser.parse_args(arguments)
    settings.use(options.env)
    try:
        found, seen = _verify(is_quiet=options.quiet)
    except (GetSmartError, PyMongoError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return UNTOLD
    for violation in found[:_MOST_SHOWN]:
        print(violation)
    if len(found) > _MOST_SHOWN:
        print(f"... and {len(found) - _MOST_SHOWN} more")
    read = ", ".join(f"{number} {name}" for name, number in seen.items())
    print(f"{len(found)} violations in {read}" if found else f"I2, I3, I4 and I5 hold: {read}")
    return WRONG if found else 0


def _verify(*, is_quiet: bool) -> tuple[list[Violation], dict[str, int]]:
    seen = dict.fromkeys(PARTS, 0)
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=is_quiet) as bar:
        tasks = {name: bar.add_task(name, total=count(name)) for name in PARTS}

        def advance(name: str, number: int) -> None:
            seen[name] += number
            bar.advance(tasks[name], number)

        return list(verify(advance)), seen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

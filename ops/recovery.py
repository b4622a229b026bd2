"""After a restore: `on` stops money; the tick ends that itself once it has reconciled the chain up to its head.

`off` ends it by hand, where no node is configured to reconcile with; `status` tells which it is.
"""

import argparse
import sys

from pymongo.errors import PyMongoError

from getsmart.errors import GetSmartError
from getsmart.stores import controls
from ops import settings


def main(arguments: list[str]) -> int:
    """Run one command; exit 0, or 1 with one clear line."""
    parser = argparse.ArgumentParser(prog="./doit recovery", description=__doc__)
    parser.add_argument("command", choices=("on", "off", "status"))
    settings.option(parser)
    options = parser.parse_args(arguments)
    settings.use(options.env)
    try:
        if options.command != "status":
            settings.say()
            controls.set_recovering(is_recovering=options.command == "on")
        print("recovering" if controls.is_recovering() else "not recovering")
    except (GetSmartError, PyMongoError) as error:
        print(f"recovery: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

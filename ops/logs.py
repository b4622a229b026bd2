"""What failed lately, as a table or as JSON lines: calls answered 5xx, the provider's failures, the tick's steps.

These are the lines that the functions keep in the database (docs/observability.md), the newest two weeks of them. Every
other line is where LOG_DESTINATIONS sends it.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import PyMongoError
from rich.console import Console
from rich.table import Column, Table

from getsmart import clock
from getsmart.errors import GetSmartError
from getsmart.stores import failures
from ops import settings

_OF_ONE = ("request_id", "trace_id", "transaction_id")  # wherever in the two weeks its lines lie
_FIELDS = (*_OF_ONE, "function", "code")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHOWN = ("at", "code", "status", "function", "colour", "request_id", "error")
_OVERLAP = timedelta(seconds=5)  # a line is kept a little later than it was written


def main(words: Sequence[str]) -> int:
    """Show what was asked for; exit 0, or 1 with one clear line."""
    options = _parser().parse_args(words)
    settings.use(options.env)
    try:
        show = _print_json if options.json else _print_table
        for found in _batches(options):
            show(found)
    except (GetSmartError, PyMongoError) as error:
        print(f"logs: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./doit logs", description=__doc__)
    parser.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument("--since", type=_moment, help="a span such as 90s, 15m, 2h, 7d, or a moment (default 1h)")
    parser.add_argument("--request-id", help="of one call; looks at the whole two weeks")
    parser.add_argument("--trace-id", help="of one trace; looks at the whole two weeks")
    parser.add_argument("--transaction-id", help="of one transaction; looks at the whole two weeks")
    parser.add_argument("--function", help="such as tokens/mint or ops/tick")
    parser.add_argument("--code", help="such as internal, provider_unavailable or tick.summed_failed")
    parser.add_argument("--limit", type=int, default=200, help="the newest so many (default 200)")
    parser.add_argument("--json", action="store_true", help="whole lines as JSON, one each")
    settings.option(parser)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between looks with --follow (default 2)")
    return parser


def _moment(text: str) -> datetime:
    span = re.fullmatch(r"(\d+)([smhd])", text)
    if span:
        return clock.now() - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither a span nor a moment") from None


def _batches(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """What is there, and with --follow what comes, each line once."""
    query = {name: value for name in _FIELDS if (value := getattr(options, name))}
    is_one = any(name in query for name in _OF_ONE)
    since = options.since or clock.now() - (timedelta(days=14) if is_one else timedelta(hours=1))
    found = failures.find(query, since, options.limit)
    yield found
    seen = {row["_id"] for row in found}
    while options.follow:
        time.sleep(options.interval)
        recent = failures.find(query, max(since, clock.now() - _OVERLAP - timedelta(seconds=options.interval)), 1_000)
        new = [row for row in recent if row["_id"] not in seen]
        seen = {row["_id"] for row in recent} | {row["_id"] for row in new}
        if new:
            yield new


def _print_json(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        line = {name: value for name, value in row.items() if name != "_id"}
        print(json.dumps({**line, "at": clock.to_wire(row["at"])}, ensure_ascii=False), flush=True)


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*(Column(name, overflow="fold") for name in _SHOWN), box=None, pad_edge=False)
    for row in rows:
        shown = {**row, "at": clock.to_wire(row["at"])}
        table.add_row(*(str(shown.get(name, "")) for name in _SHOWN))
    Console(soft_wrap=False).print(table if rows else "nothing failed", markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

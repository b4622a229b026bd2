"""Which backups stay: the newest, then one an hour, a day and a week, so far back as asked for; pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

_FORM = re.compile(r"(\d+)/(\d+)/(\d+)/(\d+)")


@dataclass(frozen=True)
class Keep:
    """How many of the newest, of the newest of each hour, of each day and of each week."""

    newest: int
    hours: int
    days: int
    weeks: int

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """`12/24/7/4`. Raises ValueError; at least one stays whatever is asked."""
        match = _FORM.fullmatch(text)
        if match is None or not int(match[1]):
            raise ValueError(f"{text!r}: keep is four numbers, newest/hours/days/weeks, the first at least 1")
        return cls(*(int(number) for number in match.groups()))


def superfluous(moments: Sequence[datetime], keep: Keep) -> list[datetime]:
    """Those (UTC) that no rule keeps, the newest first; never the newest of all."""
    ordered = sorted(moments, reverse=True)
    kept = set(ordered[: max(1, keep.newest)])
    for count, period in ((keep.hours, "%Y-%m-%d %H"), (keep.days, "%Y-%m-%d"), (keep.weeks, "%G-%V")):
        last: dict[str, datetime] = {}
        for moment in ordered:
            last.setdefault(moment.strftime(period), moment)
        kept.update(list(last.values())[:count])
    return [moment for moment in ordered if moment not in kept]

"""Who has the calls when a gateway starts: the weights that were kept, unless the database has changed its mind since.

Weights are kept where a command reached the gateway's folder. One on another machine only tells the running gateway, so
after a restart the kept ones may be those of before a promotion.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ops.gateway import generate, runtime
from ops.gateway.environment import COLOURS, Colour, Environment
from ops.release import state
from ops.release.state import DatabaseUnreachable


def shares(environment: Environment, folder: Path, named: Colour | None) -> Mapping[Colour, int]:
    """The shares to start with; which of the two said so is printed where they differ, or only one could be asked.

    `named` counts where no weights are kept. Raises DatabaseUnreachable where nobody says: a guess would give all calls
    to what may be old, or empty.
    """
    kept = runtime.kept_shares(folder)
    if kept is None:
        return generate.all_to(named or active(environment))
    try:
        standing = state.standing(environment)
    except DatabaseUnreachable as error:
        _say(f"the weights that were kept count, {_text(kept)}: {error}")
        return kept
    if standing.active is None or kept[standing.active] == 100:
        return kept
    if standing.moving or not _is_older(folder, standing.activated_at):
        _say(f"the weights that were kept count, {_text(kept)}: they are newer than the database's {standing.active}")
        return kept
    (folder / runtime.STATE).write_text(runtime.NO_STATE, encoding="utf-8")
    _say(
        f"the database counts, all calls to {standing.active}, made active by {standing.activated_by}: the weights that"
        f" were kept are older, {_text(kept)}"
    )
    return generate.all_to(standing.active)


def active(environment: Environment) -> Colour:
    """Whom the database calls active; blue before any is. Raises DatabaseUnreachable."""
    try:
        return state.standing(environment).active or COLOURS[0]
    except DatabaseUnreachable as error:
        raise DatabaseUnreachable(f"who has the calls? {error}; name the colour: --active blue, or green") from None


def _is_older(folder: Path, activated_at: datetime | None) -> bool:
    kept_at = datetime.fromtimestamp((folder / runtime.STATE).stat().st_mtime, UTC)
    return activated_at is not None and kept_at < activated_at


def _text(kept: Mapping[Colour, int]) -> str:
    return ", ".join(f"{colour} {share} %" for colour, share in kept.items())


def _say(what: str) -> None:
    print(f"gateway: {what}", flush=True)

"""Whether a colour's code may have calls on the schema as it is: all is there that it needs, nothing was taken away."""

from mongomig import MongoMigError
from pymongo.errors import PyMongoError

from getsmart import config
from ops import migrations
from ops.gateway.environment import Colour
from ops.migrations.files import CONTRACT, number
from ops.release.state import Code, DatabaseUnreachable, Standing


def problem(colour: Colour, code: Code, standing: Standing) -> str | None:
    """Why a colour must not have calls at all, and what to do; None while it may."""
    if standing.lowest_schema == 0:
        return None
    runs = ", ".join(sorted(map(str, code.versions)))
    if code.schema_version is None:
        return f"{colour} does not say what it runs, and since a migration not every version may have calls"
    if code.schema_version >= standing.lowest_schema:
        return None
    lowest = f"{standing.lowest_schema:04d}"
    return (
        f"{colour} runs version {runs}, made for schema {code.schema_version}; migration {lowest} has taken away what"
        f" it needs: deploy a version that has {lowest}, or give back what was taken: ./doit migrate down"
        f" {standing.lowest_schema - 1:04d}"
    )


def pending(colour: Colour, code: Code) -> str | None:
    """Which migrations the colour's code needs that are not applied, and what to type; None when all are."""
    needed = code.schema_version or 0
    found = _status()
    waiting = [(name, phase) for name, phase, state in found if state != "applied"]
    missing = [name for name, phase in waiting if phase != CONTRACT and number(name) <= needed]
    if not missing:
        return None
    before = [name for name, phase in waiting if phase == CONTRACT and name < missing[-1]]
    then = f" --contract, as {before[0]} comes first" if before else ""
    return f"{colour} needs {', '.join(missing)}, not applied yet: ./doit migrate up{then}"


def _status() -> list[tuple[str, str, str]]:
    """Raises DatabaseUnreachable."""
    settings = config.read(config.DatabaseSettings)
    try:
        found = migrations.status(settings.uri, settings.name)
    except (MongoMigError, PyMongoError) as error:
        raise DatabaseUnreachable(f"which migrations are applied is not known: {error}") from error
    return [(name, phase, state) for name, phase, _, state in found]

"""`python -m local.prepare FILE`: apply the migrations and see to it that FILE holds a test key that works.

A process of its own, since it is configured like a function: by the environment.
"""

import json
import os
import sys
from pathlib import Path

from getsmart import config, tokens
from getsmart.errors import Unauthenticated
from getsmart.services.keys import SCOPES
from getsmart.stores import controls
from getsmart.stores import keys as stored_keys
from ops import keys, migrations

_CLIENT = "local"


def main(arguments: list[str]) -> int:
    """Print one JSON line: `{"api_key", "active"}`. The same key as before when the database still knows it."""
    file = Path(arguments[0])
    settings = config.read(config.DatabaseSettings)
    migrations.up(settings.uri, settings.name)
    token = _kept(file)
    if token is None:
        token = keys.create(client_id=_CLIENT, scopes=SCOPES, limits=keys.NO_LIMITS).token
        _keep(file, token)
    print(json.dumps({"api_key": token, "active": controls.active_colour()}), flush=True)
    return 0


def _kept(file: Path) -> str | None:
    """The key in the file, if the database has it and it was not revoked."""
    try:
        token = str(json.loads(file.read_text(encoding="utf-8"))["api_key"])
        key = tokens.parse(token)
    except (OSError, ValueError, KeyError, TypeError, Unauthenticated):
        return None
    row = stored_keys.find(key.key_id)
    is_ours = row is not None and row["secret_sha256"] == tokens.digest(key.secret) and row["revoked_at"] is None
    return token if is_ours else None


def _keep(file: Path, token: str) -> None:
    """Readable by its owner only, from the first moment."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        json.dump({"client_id": _CLIENT, "api_key": token}, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

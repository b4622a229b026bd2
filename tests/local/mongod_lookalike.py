"""The embedded server with mongod's command line and the replica set commands that a fresh mongod is set up with.

No package of the registries carries a mongod. This shows that ours is started, set up and moved to another port in the
way that mongod's documentation describes; everything else is the embedded server's own.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from secantus import cli, commands  # type: ignore[import-untyped]

_ELECTION_SECONDS = float(os.environ.get("LOOKALIKE_ELECTION_SECONDS", "0.2"))
_real_hello = commands._HANDLERS["hello"]


def main() -> int:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser()
    for name in ("replSet", "dbpath", "bind_ip", "port"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    config = Path(options.dbpath) / "replica-set.json"
    commands._HANDLERS.update(_replica_set(config, f"{options.bind_ip}:{options.port}"))
    where = ["--host", options.bind_ip, "--port", options.port, "--storage-path", options.dbpath]
    sys.argv = ["mongod", *where, "--log-level", "WARNING"]
    return int(cli.main() or 0)


def _replica_set(file: Path, address: str) -> dict[str, Any]:
    started = time.monotonic()

    def config() -> dict[str, Any]:
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def initiate(doc: dict[str, Any], _context: Any) -> dict[str, Any]:
        if file.exists():
            return {"ok": 0.0, "code": 23, "codeName": "AlreadyInitialized", "errmsg": "already initialized"}
        if doc["replSetInitiate"]["_id"] != "getsmart":
            return {"ok": 0.0, "code": 93, "codeName": "InvalidReplicaSetConfig", "errmsg": "another name"}
        file.write_text(json.dumps({**doc["replSetInitiate"], "version": 1}))
        return {"ok": 1.0}

    def reconfigure(doc: dict[str, Any], _context: Any) -> dict[str, Any]:
        assert doc["force"]
        assert doc["replSetReconfig"]["version"] == config()["version"] + 1
        file.write_text(json.dumps(doc["replSetReconfig"]))
        return {"ok": 1.0}

    def hello(doc: dict[str, Any], context: Any) -> dict[str, Any]:
        members = [member["host"] for member in config().get("members", [])]
        is_elected = members == [address] and time.monotonic() > started + _ELECTION_SECONDS
        return {**_real_hello(doc, context), "isWritablePrimary": is_elected, "ismaster": is_elected}

    return {
        "replSetInitiate": initiate,
        "replSetGetConfig": lambda _doc, _context: {"config": config(), "ok": 1.0},
        "replSetReconfig": reconfigure,
        **dict.fromkeys(("hello", "isMaster", "ismaster"), hello),
    }


if __name__ == "__main__":
    sys.exit(main())

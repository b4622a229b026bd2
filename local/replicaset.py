"""Make a mongod that somebody else started a replica set of one: the pipeline's service container, a container here."""

import argparse
import os
import sys
import time

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from local.database import MongodDatabase, make_replica_set

_SECONDS = 60.0


def main(arguments: list[str]) -> int:
    """Wait for the server of MONGODB_URI, and for its primary. Exit 1 with one clear line."""
    argparse.ArgumentParser(prog="./doit replicaset", description=__doc__).parse_args(arguments)
    uri = os.environ.get("MONGODB_URI", "")
    deadline = time.monotonic() + _SECONDS
    try:
        host, port = parse_uri(uri)["nodelist"][0]
        make_replica_set(uri, MongodDatabase.replica_set, f"{host}:{port}", deadline)
    except PyMongoError as error:
        print(f"replicaset: MONGODB_URI: {error}", file=sys.stderr)
        return 1
    print(f"{host}:{port} is a replica set of one")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

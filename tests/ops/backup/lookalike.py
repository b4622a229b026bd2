"""mongodump and mongorestore with their command lines, as far as we use them; no registry has the real ones.

They show that ours are started, fed and read as the documentation of the tools describes.
"""

import sys
from pathlib import Path
from typing import Any, cast

import yaml
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from ops.backup import reading
from ops.backup.archive import Prelude, Reader, Sink, Writer, split


def main(tool: str, words: list[str]) -> int:
    """Do as the tool does. A database named `broken` is one that it cannot read or write."""
    options = dict(word.partition("=")[::2] for word in words)
    config = Path(options.pop("--config"))
    assert config.stat().st_mode & 0o077 == 0
    with MongoClient[dict[str, Any]](yaml.safe_load(config.read_text())["uri"]) as client:
        return dump(client, options) if tool == "mongodump" else restore(client, options)


def dump(client: MongoClient[dict[str, Any]], options: dict[str, str]) -> int:
    """Everything of a database to standard output."""
    assert options.keys() == {"--db", "--archive"}
    database = client[options["--db"]]
    collections = reading.describe(database)
    writer = Writer(cast(Sink, sys.stdout.buffer), Prelude("8.0.0", "100.12.0", collections))
    if (database.broken.find_one() or {}).get("reading"):
        sys.stderr.write("Failed: error writing data for collection: out of luck\n")
        return 1
    for namespace, documents, is_last in reading.documents(database, collections):
        writer.end(namespace) if is_last else writer.add(namespace, documents)
    return 0


def restore(client: MongoClient[dict[str, Any]], options: dict[str, str]) -> int:
    """Everything from standard input into the collections that are there."""
    kept = {"--noIndexRestore", "--noOptionsRestore", "--bypassDocumentValidation", "--stopOnError"}
    assert options.keys() == {"--archive", *kept}
    for namespace, documents, is_last in Reader(sys.stdin.buffer).segments():
        if namespace.collection == "broken" and documents:
            sys.stderr.write("Failed: restore error: out of luck\n")
            return 1
        if not is_last and documents:
            rows = [RawBSONDocument(one) for one in split(documents)]
            client[namespace.database][namespace.collection].insert_many(rows, bypass_document_validation=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

"""A database of a test's own, that the environment points to."""

from collections.abc import Iterator

import pytest

from getsmart import config, mongo
from tests.migrating import Raw, scratch


@pytest.fixture
def scratch_database(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Raw]:
    """An empty one; commands and library take it for theirs."""
    with scratch(environment["MONGODB_URI"]) as raw:
        monkeypatch.setenv("MONGODB_DATABASE", raw.name)
        config.forget()
        mongo.forget()
        yield raw
    mongo.forget()

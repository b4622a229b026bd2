"""The connection to the database: one client, whole transactions, exact amounts."""

import decimal
import os
import socket
import time as real_time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError

from getsmart import config, mongo
from getsmart.amounts import MAX_SUPPLY
from getsmart.errors import Misconfigured
from tests.edge import Raw, assert_refused
from tests.local.programs import closed_port  # type: ignore[import-not-found,unused-ignore]
from tests.support import Client


@pytest.fixture(autouse=True)
def _fresh(environment: dict[str, str]) -> Iterator[None]:
    mongo.forget()
    yield
    mongo.forget()

"""What somebody forgot in the values of a deployment: an example that still stands, a value that nobody can use."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from pydantic import BaseModel, ValidationError

from getsmart import config
from ops.deployer_template import Values, read_env
from ops.functions import ROOT

# Documented for nobody's use (RFC 2606), and what the examples of deploy/environments call the platform's hosts.
_EXAMPLE_HOST = re.compile(r"(?:(?<![\w-])example\.(?:com|net|org)|-example\.doserverless\.co)(?![\w.-])")
# No secrets, and wrong as they stand in .env.example all the same.
_ADDRESSES = frozenset({"TOKEN_CONTRACT_ADDRESS", "TREASURY_ADDRESS"})
_NOWHERE = "[]"  # LOG_DESTINATIONS of .env.example: a value like any other

MODELS: tuple[type[BaseModel], ...] = (
    *(config.DatabaseSettings, config.ProviderSettings, config.TransferSettings, config.OutboundSettings),
    *(config.TokenSettings, config.ChainSettings, config.ReconciliationSettings, config.RetentionSettings),
    *(config.DeploymentSettings, config.TickSettings, config.WebhookSettings),
)
"""What functions read, whatever the scheme of inbound webhooks is."""
OF_A_SCHEME: Mapping[str, type[BaseModel]] = {
    "p256": config.P256WebhookSettings,
    "standard": config.StandardWebhookSettings,
}


@cache
def _examples() -> Mapping[str, str]:
    return read_env(ROOT / ".env.example")


def is_example(name: str, value: str) -> bool:
    """Whether a value, or one of those in it, is what .env.example shows."""
    example = _examples().get(name)
    return example not in {None, _NOWHERE} and example in {part.strip() for part in value.split(",")}


def of_hosts(urls: Iterable[str]) -> Iterator[str]:
    """The public address and the namespaces that nobody has put in yet."""
    yield from (f"{url} is an example: put your own into deploy/environments" for url in urls if is_no_host(url))


def is_no_host(value: str) -> bool:
    """Whether a host in it is one of the examples'."""
    return _EXAMPLE_HOST.search(value) is not None


def of_values(values: Values, reviewed: Iterable[str]) -> Iterator[str]:
    """A line for each value that cannot be meant; `reviewed` are the variables of the environment's own file."""
    own = set(reviewed) - _ADDRESSES
    for name, value in values.items():
        if name not in own and is_example(name, value):
            yield f"{name} is still the example of .env.example"
        elif is_no_host(value):
            yield f"{name} names an example's host"


def of_types(values: Values) -> Iterator[str]:
    """A line for each value that a function would answer 503 misconfigured for; no value stands in it."""
    by_scheme = OF_A_SCHEME.get(values.get("METAKEEP_WEBHOOK_SCHEME", ""))
    for model in (*MODELS, *filter(None, [by_scheme])):
        try:
            model.model_validate(dict(values))
        except ValidationError as error:
            for found in error.errors(include_input=False):
                if found["type"] != "missing":
                    yield f"{found['loc'][0]} cannot be used: {found['msg']}"

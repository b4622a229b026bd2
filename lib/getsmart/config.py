"""Configuration from the environment: one frozen model a concern, read when a function first needs it.

A function fails with 503 `misconfigured` on its first call for a variable it needs, never for one it does not.
The log names the variable; the caller never learns it, and no value is ever logged.
"""

import os
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from getsmart.errors import Misconfigured

_ADDRESS = r"^0x[0-9a-fA-F]{40}$"
_PUBLIC_KEY = r"^A[A-Za-z0-9+/]{43}$"
_SHARED = r"^whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"  # 24 to 65 bytes

_RECIPIENT = r"^age1[0-9a-z]{58}$"


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class _Settings(BaseModel):
    # Lax on purpose: the environment has only strings.
    model_config = ConfigDict(frozen=True, populate_by_name=True, hide_input_in_errors=True, defer_build=True)


class DatabaseSettings(_Settings):
    """Where the database is."""

    uri: str = Field(alias="MONGODB_URI", min_length=1)
    name: str = Field(alias="MONGODB_DATABASE", default="getsmart", min_length=1)
    max_pool_size: int = Field(alias="MONGODB_MAX_POOL_SIZE", default=1, ge=1, le=200)


class ProviderSettings(_Settings):
    """How MetaKeep is reached, and the key pairs that sign our calls: the first new ones, each those made under it."""

    base_url: str = Field(alias="METAKEEP_BASE_URL", pattern=r"^https?://[^/]+$")
    signing_host: str = Field(alias="METAKEEP_SIGNING_HOST", min_length=1)
    api_keys: Annotated[tuple[Annotated[str, Field(pattern=_PUBLIC_KEY)], ...], BeforeValidator(_split)] = Field(
        alias="METAKEEP_API_KEY", min_length=1
    )
    api_secrets: Annotated[tuple[Annotated[str, Field(min_length=43)], ...], BeforeValidator(_split)] = Field(
        alias="METAKEEP_API_SECRET", min_length=1, repr=False
    )


class TransferSettings(_Settings):
    """Whether the inferred MetaKeep form `to: {"ethAddress"}` may be used."""

    to_address: Literal["on", "off"] = Field(alias="METAKEEP_TRANSFER_TO_ADDRESS", default="off")


class TokenSettings(_Settings):
    """The contract and the chain it lives on."""

    contract_address: str = Field(alias="TOKEN_CONTRACT_ADDRESS", pattern=_ADDRESS)
    treasury_address: str = Field(alias="TREASURY_ADDRESS", pattern=_ADDRESS)
    chain_id: Annotated[Literal[137, 80002], BeforeValidator(int)] = Field(alias="CHAIN_ID")

    @property
    def network(self) -> str:
        """The network's name as the explorers spell it."""
        return {137: "polygon", 80002: "polygon-amoy"}[self.chain_id]


class ChainSettings(_Settings):
    """An optional second witness: a JSON-RPC node, and how deep a block must lie before it counts."""

    rpc_url: str | None = Field(alias="CHAIN_RPC_URL", default=None)
    confirmation_depth: int = Field(alias="CONFIRMATION_DEPTH", default=64, ge=0, le=10_000)


class ReconciliationSettings(_Settings):
    """From which block on the chain is compared with the books: the one that the contract was created in."""

    first_block: int = Field(alias="TOKEN_FIRST_BLOCK", default=0, ge=0)


class WebhookSettings(_Settings):
    """By which of two schemes inbound deliveries are verified; by `none` every one is refused.

    Never by both: a forger would take the weaker one.
    """

    scheme: Literal["p256", "standard", "none"] = Field(alias="METAKEEP_WEBHOOK_SCHEME")


class P256WebhookSettings(_Settings):
    """Scheme p256: pinned sender keys, and the public name and path that deliveries must be bound to."""

    sender_keys: Annotated[tuple[Annotated[str, Field(pattern=_PUBLIC_KEY)], ...], BeforeValidator(_split)] = Field(
        alias="METAKEEP_WEBHOOK_SENDER_KEYS", min_length=1
    )
    host: str = Field(alias="METAKEEP_WEBHOOK_HOST", min_length=1)
    path: str = Field(alias="METAKEEP_WEBHOOK_PATH", pattern=r"^/")


class OutboundSettings(_Settings):
    """What the secrets of endpoints are derived from, the newest first, and whether test mode may call this network."""

    secret_keys: Annotated[tuple[Annotated[str, Field(min_length=32)], ...], BeforeValidator(_split)] = Field(
        alias="WEBHOOK_SECRET_KEYS", min_length=1, repr=False
    )
    private_targets: Literal["test", "never"] = Field(alias="WEBHOOK_PRIVATE_TARGETS", default="test")


class RetentionSettings(_Settings):
    """How long events are kept, at least a year."""

    event_days: int = Field(alias="EVENT_RETENTION_DAYS", default=400, ge=365, le=36_500)


class StandardWebhookSettings(_Settings):
    """Scheme standard: the shared secrets, two while one takes the other's place."""

    secrets: Annotated[tuple[Annotated[str, Field(pattern=_SHARED)], ...], BeforeValidator(_split)] = Field(
        alias="METAKEEP_WEBHOOK_SECRETS", min_length=1, repr=False
    )


class DeploymentSettings(_Settings):
    """Which colour this is, which version it runs, and how many hops of ours a call has come by."""

    colour: Literal["blue", "green"] = Field(alias="COLOUR", default="blue")
    version: str = Field(alias="APP_VERSION", default="development")
    forwarded_hops: int = Field(alias="FORWARDED_HOPS", default=1, ge=1, le=5)


class TickSettings(_Settings):
    """How long one run of the tick works and how often it looks for due rows."""

    run_seconds: float = Field(alias="TICK_SECONDS", default=50, ge=0, le=55)
    interval_seconds: float = Field(alias="TICK_INTERVAL_SECONDS", default=2, gt=0, le=30)


class BackupSettings(_Settings):
    """Where backups go, and whose keys open them: age recipients, which are no secrets."""

    recipients: Annotated[tuple[Annotated[str, Field(pattern=_RECIPIENT)], ...], BeforeValidator(_split)] = Field(
        alias="BACKUP_RECIPIENTS", min_length=1
    )
    place: str = Field(alias="BACKUP_PLACE", default=".local/backups", min_length=1)


class BackupIdentitySettings(_Settings):
    """The key that opens backups; only where one is restored."""

    key: str = Field(alias="BACKUP_IDENTITY", min_length=1, repr=False)


Settings = TypeVar("Settings", bound=_Settings)


def read(model: type[Settings]) -> Settings:
    """The settings of one concern, read once a process. An empty variable counts as unset, as the deployer has it.

    Raises Misconfigured naming the variables that are missing or wrong.
    """
    if model not in _read():
        _read()[model] = _from_environment(model)
    return cast(Settings, _read()[model])


@cache
def _read() -> dict[type[_Settings], _Settings]:
    return {}


def _from_environment(model: type[Settings]) -> Settings:
    names = [str(field.alias) for field in model.model_fields.values()]
    values = {name: os.environ[name] for name in names if os.environ.get(name)}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = sorted(
            {f"{e['loc'][0]} ({'missing' if e['type'] == 'missing' else 'invalid'})" for e in error.errors()}
        )
        raise Misconfigured("environment: " + ", ".join(problems)) from None


def forget() -> None:
    """Read everything again on next use; for tests that change the environment."""
    _read.cache_clear()

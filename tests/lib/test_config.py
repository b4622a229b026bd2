"""Configuration from the environment, a model a concern."""

from collections.abc import Iterator

import pytest

from getsmart import config
from getsmart.errors import Misconfigured

ADDRESS = "0x" + "aB" * 20
KEY = "A" + "b" * 43
GOOD = {
    "MONGODB_URI": "mongodb://127.0.0.1:27017",
    "METAKEEP_BASE_URL": "https://api.example.com",
    "METAKEEP_SIGNING_HOST": "api.example.com",
    "METAKEEP_API_KEY": KEY,
    "METAKEEP_API_SECRET": "s" * 43,
    "TOKEN_CONTRACT_ADDRESS": ADDRESS,
    "TREASURY_ADDRESS": ADDRESS,
    "CHAIN_ID": "137",
    "METAKEEP_WEBHOOK_SCHEME": "p256",
    "METAKEEP_WEBHOOK_SENDER_KEYS": f"{KEY}, {KEY[::-1].replace('A', 'b').replace('b', 'A', 1)},",
    "METAKEEP_WEBHOOK_HOST": "api.example.com",
    "METAKEEP_WEBHOOK_PATH": "/v1/webhooks/metakeep",
    "METAKEEP_WEBHOOK_SECRETS": f"whsec_{KEY[:43]}=",
}
MODELS = (
    config.DatabaseSettings,
    config.ProviderSettings,
    config.TransferSettings,
    config.TokenSettings,
    config.ChainSettings,
    config.WebhookSettings,
    config.P256WebhookSettings,
    config.StandardWebhookSettings,
    config.DeploymentSettings,
    config.TickSettings,
)


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Exactly the required variables are set, and nothing is remembered."""
    for model in MODELS:
        for field in model.model_fields.values():
            monkeypatch.delenv(str(field.alias), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    config.forget()
    yield monkeypatch
    config.forget()


def test_defaults_are_those_of_a_small_deployment() -> None:
    """What has a harmless default needs no variable."""
    database = config.read(config.DatabaseSettings)
    assert (database.uri, database.name, database.max_pool_size) == (GOOD["MONGODB_URI"], "getsmart", 1)
    assert config.read(config.TransferSettings).to_address == "off"
    chain = config.read(config.ChainSettings)
    assert (chain.rpc_url, chain.confirmation_depth) == (None, 64)
    deployment = config.read(config.DeploymentSettings)
    assert (deployment.colour, deployment.version) == ("blue", "development")
    tick = config.read(config.TickSettings)
    assert (tick.run_seconds, tick.interval_seconds) == (50, 2)


def test_values_get_their_types(variables: pytest.MonkeyPatch) -> None:
    """Numbers, lists and the network's name."""
    assert config.read(config.TokenSettings).network == "polygon"
    assert config.read(config.TokenSettings).chain_id == 137
    assert len(config.read(config.P256WebhookSettings).sender_keys) == 2
    variables.setenv("CHAIN_ID", "80002")
    config.forget()
    assert config.read(config.TokenSettings).network == "polygon-amoy"


def test_the_environment_is_read_once(variables: pytest.MonkeyPatch) -> None:
    """A warm function does not look again, until it is told to forget."""
    first = config.read(config.DatabaseSettings)
    variables.setenv("MONGODB_DATABASE", "other")
    assert config.read(config.DatabaseSettings) is first
    config.forget()
    assert config.read(config.DatabaseSettings).name == "other"


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_variable_is_named(variables: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """Unset and empty are the same: the one concern that needs it is misconfigured, and says which it is."""
    if value is None:
        variables.delenv(name)
    else:
        variables.setenv(name, value)
    failed = []
    for model in MODELS:
        try:
            config.read(model)
        except Misconfigured as error:
            failed.append(str(error))
    assert failed == [f"environment: {name} (missing)"]


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        (config.DatabaseSettings, "MONGODB_MAX_POOL_SIZE", "many"),
        (config.DatabaseSettings, "MONGODB_MAX_POOL_SIZE", "0"),
        (config.ProviderSettings, "METAKEEP_BASE_URL", "https://api.example.com/v1"),
        (config.ProviderSettings, "METAKEEP_BASE_URL", "api.example.com"),
        (config.ProviderSettings, "METAKEEP_API_KEY", "B" + "b" * 43),
        (config.ProviderSettings, "METAKEEP_API_SECRET", "short"),
        (config.TransferSettings, "METAKEEP_TRANSFER_TO_ADDRESS", "yes"),
        (config.TokenSettings, "TOKEN_CONTRACT_ADDRESS", ADDRESS + "\n"),
        (config.TokenSettings, "TREASURY_ADDRESS", "0x12"),
        (config.TokenSettings, "CHAIN_ID", "1"),
        (config.TokenSettings, "CHAIN_ID", "polygon"),
        (config.ChainSettings, "CONFIRMATION_DEPTH", "-1"),
        (config.WebhookSettings, "METAKEEP_WEBHOOK_SCHEME", "hmac"),
        (config.P256WebhookSettings, "METAKEEP_WEBHOOK_SENDER_KEYS", f"{KEY},wrong"),
        (config.P256WebhookSettings, "METAKEEP_WEBHOOK_SENDER_KEYS", " , "),
        (config.P256WebhookSettings, "METAKEEP_WEBHOOK_PATH", "v1"),
        (config.StandardWebhookSettings, "METAKEEP_WEBHOOK_SECRETS", "whsec_c2hvcnQ="),
        (config.DeploymentSettings, "COLOUR", "red"),
        (config.TickSettings, "TICK_SECONDS", "56"),
        (config.TickSettings, "TICK_INTERVAL_SECONDS", "0"),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_is_not(
    variables: pytest.MonkeyPatch, model: type[config._Settings], name: str, value: str
) -> None:
    """The log gets the name; a value may be a secret."""
    variables.setenv(name, value)
    with pytest.raises(Misconfigured) as caught:
        config.read(model)
    assert str(caught.value) == f"environment: {name} (invalid)"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_several_are_named_at_once(variables: pytest.MonkeyPatch) -> None:
    """One look at the log is enough."""
    variables.delenv("METAKEEP_API_KEY")
    variables.setenv("METAKEEP_BASE_URL", "x")
    with pytest.raises(Misconfigured) as caught:
        config.read(config.ProviderSettings)
    assert str(caught.value) == "environment: METAKEEP_API_KEY (missing), METAKEEP_BASE_URL (invalid)"


def test_no_secret_in_a_representation() -> None:
    """A settings object in a traceback shows no secret."""
    assert GOOD["METAKEEP_API_SECRET"] not in repr(config.read(config.ProviderSettings))

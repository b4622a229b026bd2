"""Who gets which share of the calls: a running HAProxy is told (seconds), or an app's spec is changed (minutes)."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import yaml

from ops.gateway.environment import COLOURS, Colour, Environment, EnvironmentInvalid
from ops.gateway.generate import weight_of
from ops.gateway.runtime import GatewayUnreachable, Reading, runtime_of
from ops.pipeline import doctl

SERVICE = "gateway"


class Traffic(Protocol):
    """How calls are shared between the colours, in per cent that are together 100."""

    def shares(self) -> Mapping[Colour, int]:
        """As it is. Raises GatewayUnreachable."""

    def give(self, shares: Mapping[Colour, int]) -> None:
        """Change it, and keep it over a restart. Raises GatewayUnreachable."""

    def readings(self) -> Mapping[Colour, Reading] | None:
        """What each colour has done; None where nobody can be asked. Raises GatewayUnreachable."""


class Process:
    """A HAProxy whose runtime socket can be reached."""

    def __init__(self, environment: Environment) -> None:
        self._line = runtime_of(environment)
        self._folder = environment.gateway.folder

    def shares(self) -> Mapping[Colour, int]:  # noqa: D102 - see Traffic
        return self._line.shares()

    def give(self, shares: Mapping[Colour, int]) -> None:  # noqa: D102
        self._line.give(shares)
        if self._folder.is_dir():  # else it runs elsewhere, and whoever reloads it there keeps its state
            self._line.save(self._folder)

    def readings(self) -> Mapping[Colour, Reading]:  # noqa: D102
        return self._line.readings()


class AppPlatform:
    """A HAProxy in a service of an app: its weights stand in the app's spec, and each change is a deployment."""

    def __init__(self, environment: Environment) -> None:
        """Raises EnvironmentInvalid."""
        if environment.gateway.app_id is None:
            raise EnvironmentInvalid("gateway.app_id is not set: the id of the app, from doctl apps list")
        self._app = environment.gateway.app_id
        self._token = environment.values().get(doctl.TOKEN)
        self._counts = {colour: len(spaces) for colour, spaces in environment.colours.items()}

    def shares(self) -> Mapping[Colour, int]:  # noqa: D102
        return shares_in(self.spec(), self._counts)

    def give(self, shares: Mapping[Colour, int]) -> None:  # noqa: D102
        text = yaml.safe_dump(with_shares(self.spec(), shares, self._counts), sort_keys=False)
        self._doctl("update", self._app, "--spec", "-", "--wait", text=text)

    def readings(self) -> None:
        """Its statistics stay inside the app."""

    def spec(self) -> dict[str, Any]:
        """The app's spec as it is. Raises GatewayUnreachable."""
        spec: dict[str, Any] = json.loads(self._doctl("spec", "get", self._app, "--format", "json"))
        return spec

    def _doctl(self, *words: str, text: str = "") -> str:
        try:
            return doctl.ask(["apps", *words], text=text, token=self._token)
        except doctl.DoctlFailed as error:
            raise GatewayUnreachable(str(error)) from None


def with_shares(spec: Mapping[str, Any], shares: Mapping[Colour, int], counts: Mapping[Colour, int]) -> dict[str, Any]:
    """The app's spec with these shares; all else stays. Raises GatewayUnreachable for an app without a gateway."""
    changed: dict[str, Any] = json.loads(json.dumps(spec))
    envs = _gateway_of(changed).setdefault("envs", [])
    for colour in COLOURS:
        name = f"WEIGHT_{colour.upper()}"
        envs[:] = [env for env in envs if env["key"] != name]
        envs.append({"key": name, "scope": "RUN_TIME", "value": str(weight_of(shares[colour], counts[colour]))})
    return changed


def shares_in(spec: Mapping[str, Any], counts: Mapping[Colour, int]) -> dict[Colour, int]:
    """The shares that an app's spec gives; all to blue where it says nothing."""
    told = {env["key"]: env.get("value") for env in _gateway_of(spec).get("envs", [])}
    weights = {colour: int(told.get(f"WEIGHT_{colour.upper()}") or 0) * counts[colour] for colour in COLOURS}
    total = sum(weights.values())
    return (
        {colour: round(100 * weight / total) for colour, weight in weights.items()}
        if total
        else {"blue": 100, "green": 0}
    )


def _gateway_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    for service in spec.get("services", []):
        if service["name"] == SERVICE:
            found: dict[str, Any] = service
            return found
    raise GatewayUnreachable(f"the app has no service {SERVICE}")


def traffic_of(environment: Environment) -> Traffic:
    """By what this environment's calls are shared. Raises EnvironmentInvalid."""
    return AppPlatform(environment) if environment.gateway.runs == "app-platform" else Process(environment)

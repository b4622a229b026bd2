"""Who gets which share of the calls: a running HAProxy is told (seconds), or an app's spec is changed (minutes)."""

from collections.abc import Mapping
from typing import Protocol

from ops.gateway.app import App
from ops.gateway.environment import Colour, Environment
from ops.gateway.runtime import Reading, runtime_of


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


def traffic_of(environment: Environment) -> Traffic:
    """By what this environment's calls are shared. Raises EnvironmentInvalid."""
    return App(environment) if environment.gateway.runs == "app-platform" else Process(environment)

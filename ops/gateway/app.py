"""The gateway as an app on App Platform: its spec, made of deploy/gateway/app.yaml, and doctl, which changes it.

The weights of the namespaces and what the functions ask for stand in the spec, so a change of either is a deployment of
the app. All else of a spec that runs is left as it is.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from ops.functions import ROOT
from ops.gateway.environment import COLOURS, Colour, Environment, EnvironmentInvalid, secret_name
from ops.gateway.generate import all_to, weight_of
from ops.gateway.runtime import GatewayUnreachable
from ops.pipeline import doctl

Spec = dict[str, Any]

TEMPLATE = ROOT / "deploy/gateway/app.yaml"
SERVICE = "gateway"
_PLACEHOLDER = re.compile(r"<[^>\n]*>")
_CREATED = re.compile(r"^(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})[ \t]*(?P<address>\S*)", re.MULTILINE)
# Hosts that nobody can point at an app: the example's, and those that the platform gives itself.
_NO_DOMAIN = re.compile(r"(^|\.)(example\.(com|org|net)|ondigitalocean\.app)$")


class App:
    """The app of one environment's gateway. Who changes it in two places at once loses one of the changes."""

    def __init__(self, environment: Environment) -> None:
        """Raises EnvironmentInvalid before there is one."""
        if environment.gateway.app is None:
            raise EnvironmentInvalid(f"gateway.app_id is not set: ./doit gateway create {environment.name} tells it")
        self._id = environment.gateway.app
        self._there = environment
        self._counts = {colour: len(spaces) for colour, spaces in environment.colours.items()}

    def shares(self) -> dict[Colour, int]:
        """How many per cent of the calls each colour gets. Raises GatewayUnreachable."""
        return shares_in(self.spec(), self._counts)

    def give(self, shares: Mapping[Colour, int]) -> None:
        """Set the shares. Raises GatewayUnreachable."""
        self._update(with_shares(self.spec(), shares, self._counts))

    def readings(self) -> None:
        """What each colour has done: its statistics stay inside the app."""

    def renew(self, secrets: Mapping[Colour, str]) -> None:
        """Build it anew from its branch, which has the environment, and give it these secrets; its weights stay.

        Raises GatewayUnreachable.
        """
        spec = self.spec()
        weighted = with_shares(spec, shares_in(spec, self._counts), self._counts)  # a namespace may be new
        self._update(with_secrets(weighted, secrets), "--update-sources")

    def spec(self) -> Spec:
        """The app's spec as it is; its secrets are encrypted in it. Raises GatewayUnreachable."""
        found: Spec = json.loads(_doctl(self._there, "spec", "get", self._id, "--format", "json"))
        return found

    def _update(self, spec: Spec, *words: str) -> None:
        _doctl(self._there, "update", self._id, "--spec", "-", *words, "--wait", spec=spec)


def create(environment: Environment, secrets: Mapping[Colour, str], active: Colour) -> tuple[str, str]:
    """Make the app, with all calls at a colour; its id and its address.

    Raises EnvironmentInvalid when there is one already or something is still to be filled in, GatewayUnreachable.
    """
    if environment.gateway.app is not None:
        raise EnvironmentInvalid(f"gateway.app_id names an app: ./doit gateway reload {environment.name} changes that")
    spec = first(environment, secrets, active)
    words = ("create", "--spec", "-", "--wait", "--format", "ID,DefaultIngress", "--no-header")
    said = _doctl(environment, *words, spec=spec)
    found = _CREATED.search(said)
    if found is None:
        raise GatewayUnreachable(f"doctl apps create names no app: {said.strip()}")
    return found["id"], found["address"]


def _doctl(environment: Environment, *words: str, spec: Spec | None = None) -> str:
    """The spec goes in on stdin: what is secret in it stands in no file and in no list of processes."""
    text = yaml.safe_dump(spec, sort_keys=False) if spec else ""
    try:
        return doctl.ask(["apps", *words], text=text, token=environment.values().get(doctl.TOKEN))
    except doctl.DoctlFailed as error:
        raise GatewayUnreachable(str(error)) from None


def first(environment: Environment, secrets: Mapping[Colour, str], active: Colour) -> Spec:
    """The spec that an environment's app is made with. Raises EnvironmentInvalid."""
    spec: Spec = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    if left := _PLACEHOLDER.search(json.dumps(spec)):
        raise EnvironmentInvalid(f"{TEMPLATE.relative_to(ROOT)}: {left[0]} is still to be filled in")
    spec["name"] = f"{spec['name']}-{environment.name}"
    host = str(urlsplit(environment.public).hostname)
    if not _NO_DOMAIN.search(host):
        spec["domains"] = [{"domain": host, "type": "PRIMARY"}]
    _set(spec, "ENVIRONMENT", {"scope": "BUILD_TIME", "value": environment.name})
    counts = {colour: len(spaces) for colour, spaces in environment.colours.items()}
    return with_shares(with_secrets(spec, secrets), all_to(active), counts)


def with_secrets(spec: Spec, secrets: Mapping[Colour, str]) -> Spec:
    """The spec with what each colour's functions ask for; all else stays."""
    changed: Spec = json.loads(json.dumps(spec))
    for colour, secret in secrets.items():
        _set(changed, secret_name(colour), {"scope": "RUN_TIME", "type": "SECRET", "value": secret})
    return changed


def with_shares(spec: Spec, shares: Mapping[Colour, int], counts: Mapping[Colour, int]) -> Spec:
    """The spec with these shares; all else stays. Raises GatewayUnreachable for an app without a gateway."""
    changed: Spec = json.loads(json.dumps(spec))
    for colour in COLOURS:
        weight = weight_of(shares[colour], counts[colour])
        _set(changed, f"WEIGHT_{colour.upper()}", {"scope": "RUN_TIME", "value": str(weight)})
    return changed


def shares_in(spec: Spec, counts: Mapping[Colour, int]) -> dict[Colour, int]:
    """The shares that an app's spec gives; all to blue where it says nothing."""
    told = {env["key"]: env.get("value") for env in _service(spec).get("envs", [])}
    weights = {colour: int(told.get(f"WEIGHT_{colour.upper()}") or 0) * counts[colour] for colour in COLOURS}
    total = sum(weights.values())
    if not total:
        return {"blue": 100, "green": 0}
    return {colour: round(100 * weight / total) for colour, weight in weights.items()}


def _set(spec: Spec, key: str, entry: Spec) -> None:
    """Have the gateway's service get this variable, and no other one of its name."""
    envs = _service(spec).setdefault("envs", [])
    envs[:] = [env for env in envs if env["key"] != key] + [{"key": key, **entry}]


def _service(spec: Spec) -> Spec:
    for service in spec.get("services", []):
        if service["name"] == SERVICE:
            found: Spec = service
            return found
    raise GatewayUnreachable(f"the app has no service {SERVICE}")

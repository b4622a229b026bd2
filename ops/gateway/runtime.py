"""A running gateway by its runtime socket: who has which share of the calls, how each colour answers, a reload."""

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ops.gateway.environment import COLOURS, Colour, Environment
from ops.gateway.generate import BOUNDS_MS, MASTER, weight_of

STATE, NO_STATE = "state", "1\n"
_BACKEND, _TABLE = "api", "told"
_SECONDS = 5.0
_RELOAD_SECONDS, _POLL_SECONDS = 20.0, 0.1


class GatewayUnreachable(Exception):
    """The runtime socket does not answer, or refuses; one line for whoever typed the command."""


@dataclass(frozen=True)
class Reading:
    """What a colour has done since the gateway started: answers, of them 5xx and 4xx, those within each of BOUNDS_MS.

    `retried` are attempts that did not get through to it and were made again elsewhere; `up` of `servers` answer.
    """

    calls: int = 0
    failed: int = 0
    refused: int = 0
    within: tuple[int, ...] = (0,) * len(BOUNDS_MS)
    retried: int = 0
    up: int = 0
    servers: int = 0

    def since(self, before: "Reading") -> "Reading":
        """What was done after `before`; a gateway that was reloaded in between counts anew."""
        if self.calls < before.calls or self.retried < before.retried:
            return self
        return Reading(
            self.calls - before.calls,
            self.failed - before.failed,
            self.refused - before.refused,
            tuple(now - then for now, then in zip(self.within, before.within, strict=True)),
            self.retried - before.retried,
            self.up,
            self.servers,
        )

    def slowest(self, share: float) -> int:
        """The bound in ms within which this share of the answers came; 0 without any."""
        if not self.calls:
            return 0
        return next((bound for bound, n in zip(BOUNDS_MS, self.within, strict=True) if n >= share * self.calls), 99_999)


class Runtime:
    """The runtime socket of one gateway: a path, or host:port."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, *commands: str) -> str:
        """What HAProxy says to these commands. Raises GatewayUnreachable."""
        try:
            with self._connected() as line:
                line.sendall((";".join(commands) + "\n").encode())
                line.shutdown(socket.SHUT_WR)  # the master waits for more commands otherwise
                return b"".join(iter(lambda: line.recv(65_536), b"")).decode()
        except OSError as error:
            raise GatewayUnreachable(f"the gateway's socket {self._address}: {error}") from None

    def _connected(self) -> socket.socket:
        if "/" in self._address:
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(_SECONDS)
            try:
                line.connect(self._address)
            except OSError:
                line.close()
                raise
            return line
        host, _, port = self._address.rpartition(":")
        return socket.create_connection((host, int(port)), _SECONDS)

    def shares(self) -> dict[Colour, int]:
        """How many per cent of the calls each colour gets, by the weights of its namespaces."""
        return _shares(self._servers())

    def give(self, shares: Mapping[Colour, int]) -> None:
        """Set the shares in per cent, together 100. Who gets more comes first: there is always somebody."""
        names = [row["srv_name"] for row in self._servers()]
        counts = {colour: sum(_colour(name) == colour for name in names) for colour in COLOURS}
        before = self.shares()
        ordered = sorted(names, key=lambda name: before[_colour(name)] - shares[_colour(name)])
        commands = [
            f"set server {_BACKEND}/{name} weight {weight_of(shares[_colour(name)], counts[_colour(name)])}"
            for name in ordered
        ]
        said = self.ask(*commands).strip()
        if said:
            raise GatewayUnreachable(f"the gateway refuses its weights: {said}")

    def readings(self) -> dict[Colour, Reading]:
        """What each colour has done so far."""
        rows = [row for row in self._table(f"show stat {_BACKEND} 4 -1") if row["pxname"] == _BACKEND]
        told = self._told()
        return {colour: _reading(colour, rows, told) for colour in COLOURS}

    def has_checked(self, names: Iterable[str]) -> bool:
        """Whether the newest check of each of these namespaces went well; at a start all are up before the first."""
        return all(self._table(f"show stat {name} 4 -1")[0]["check_status"].endswith("L7OK") for name in names)

    def answers(self) -> dict[str, int]:
        """How many answers each namespace has given."""
        return {name: counts[0] for name, counts in self._told().items()}

    def save(self, folder: Path) -> None:
        """Keep the weights for the next start or reload."""
        draft = folder / f"{STATE}.new"
        draft.write_text(self.ask(f"show servers state {_BACKEND}"), encoding="utf-8")
        draft.replace(folder / STATE)

    def _servers(self) -> list[dict[str, str]]:
        found = _state(self.ask(f"show servers state {_BACKEND}"))
        if found is None:
            raise GatewayUnreachable(f"the gateway knows no backend {_BACKEND}")
        return found

    def _table(self, command: str) -> list[dict[str, str]]:
        head, *lines = (line for line in self.ask(command).splitlines() if line)
        names = head.lstrip("# ").split(",")
        return [dict(zip(names, line.split(","), strict=False)) for line in lines]

    def _told(self) -> dict[str, list[int]]:
        """The counters of each namespace, by its name."""
        found = {}
        for line in self.ask(f"show table {_TABLE}").splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if "key" in fields:
                found[fields["key"]] = [int(fields.get(f"gpc{number}", 0)) for number in range(3 + len(BOUNDS_MS))]
        return found


def kept_shares(folder: Path) -> dict[Colour, int] | None:
    """The shares that were kept for the next start; None where none were, as in a folder that was in memory."""
    file = folder / STATE
    rows = _state(file.read_text(encoding="utf-8")) if file.is_file() else None
    shares = _shares(rows or [])
    return shares if any(shares.values()) else None


def _state(text: str) -> list[dict[str, str]] | None:
    """The rows of HAProxy's state of servers, by the names of their columns; None where it has none."""
    lines = text.splitlines()
    names = next((line.lstrip("# ").split() for line in lines if line.startswith("#")), None)
    if names is None:
        return None
    rows = [line.split() for line in lines if not line.startswith("#")]
    return [dict(zip(names, row, strict=False)) for row in rows if len(row) == len(names)]


def _shares(rows: Iterable[Mapping[str, str]]) -> dict[Colour, int]:
    sums: dict[Colour, int] = dict.fromkeys(COLOURS, 0)
    for row in rows:
        sums[_colour(row["srv_name"])] += int(row["srv_uweight"])
    total = sum(sums.values())
    return {colour: round(100 * weight / total) if total else 0 for colour, weight in sums.items()}


def _colour(name: str) -> Colour:
    return "green" if name.startswith("green-") else "blue"


def _reading(colour: Colour, rows: list[dict[str, str]], told: Mapping[str, list[int]]) -> Reading:
    mine = [row for row in rows if _colour(row["svname"]) == colour]
    sums = [sum(column) for column in zip(*(told[row["svname"]] for row in mine if row["svname"] in told), strict=True)]
    calls, failed, refused, *within = sums or [0] * (3 + len(BOUNDS_MS))
    return Reading(
        calls,
        failed,
        refused,
        tuple(within),
        sum(int(row["wretr"] or 0) for row in mine),
        sum(row["status"].startswith("UP") for row in mine),
        len(mine),
    )


def runtime_of(environment: Environment) -> Runtime:
    """The runtime socket of this environment's gateway."""
    return Runtime(environment.gateway.runtime)


def reload(folder: Path) -> None:
    """Have the master start new workers with the configuration in the folder; calls under way end in the old ones.

    Raises GatewayUnreachable when the new ones do not start: then the old ones go on.
    """
    master = Runtime(str(folder / MASTER))
    with suppress(GatewayUnreachable):  # for a moment after a start or a reload it is about to become its own successor
        _wait(lambda: bool(_workers(master)), "the gateway has no workers", _SECONDS)
    before = _workers(master)
    master.ask("reload")
    _wait(
        lambda: bool(_workers(master)) and not _workers(master) & before, "the gateway did not reload", _RELOAD_SECONDS
    )


def _workers(master: Runtime) -> set[str]:
    """The process ids of the newest workers."""
    found: set[str] = set()
    try:
        lines = master.ask("show proc").splitlines()
    except GatewayUnreachable:  # it is about to become its own successor
        return found
    for line in lines[lines.index("# workers") + 1 :] if "# workers" in lines else []:
        if line.startswith("#"):
            break
        found.add(line.split()[0])
    return found


def _wait(condition: Callable[[], bool], failure: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise GatewayUnreachable(failure)
        time.sleep(_POLL_SECONDS)

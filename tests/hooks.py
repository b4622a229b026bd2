"""What tests of webhooks share: endpoints as their clients make them, events without money, a courier by hand."""

from typing import Any

from getsmart import clock
from getsmart.ids import new_id
from getsmart.machine import deliver, number
from getsmart.replies import dump_json
from getsmart.services import tick
from tests.money import Raw
from tests.support import Answer, Client, call, event

ENDPOINTS, DELIVERIES, EVENTS = "webhooks/endpoints", "webhooks/deliveries", "webhooks/events"
LEASES = 40.0  # seconds: longer than every lease


def send(client: Client, method: str, path: str, body: Any = None, query: str = "") -> Answer:
    """A call with any method."""
    headers = {"authorization": f"Bearer {client.token}"}
    if body is None:
        return call(path, event(method, query=query, headers=headers))
    headers["content-type"] = "application/json"
    return call(path, event(method, body=dump_json(body), headers=headers))


def subscribe(client: Client, url: str, **more: Any) -> dict[str, Any]:
    """A new endpoint with its secret."""
    answer = client.post(ENDPOINTS, {"url": url, **more})
    assert answer.status == 201, answer.text
    return answer.data


def patch(client: Client, made: dict[str, Any], **changes: Any) -> Answer:
    """Change an endpoint."""
    return send(client, "PATCH", ENDPOINTS, {"endpoint_id": made["endpoint_id"], **changes})


def deliveries(client: Client, query: str = "") -> list[dict[str, Any]]:
    """A client's deliveries, the oldest first."""
    found: list[dict[str, Any]] = client.get(DELIVERIES, f"{query}&limit=200".lstrip("&")).data["items"]
    return found[::-1]


def statuses(client: Client, query: str = "") -> list[str]:
    """Their states."""
    return [one["status"] for one in deliveries(client, query)]


def happen(raw: Raw, count: int = 1, client_id: str = "app", kind: str = "transaction.confirmed") -> None:
    """So many changes, each with its event in its row's outbox, as they are committed; without the money."""
    rows = []
    for _ in range(count):
        row_id = new_id("wlt")
        told = {
            "event_id": new_id("evt"),
            "client_id": client_id,
            "type": kind,
            "created_at": clock.now(),
            "data": dump_json({"id": row_id}),
        }
        address = {"address": row_id, "address_key": row_id}
        rows.append({"_id": row_id, **address, "links": [], "created_at": told["created_at"], "outbox": [told]})
    raw.wallets.insert_many(rows)


def post() -> None:
    """What the tick does about events, by hand: number, dispatch, and wait until all is told."""
    while number.number_events(200):
        pass
    courier = deliver.Courier(tick.life_seconds(0))
    courier.dispatch()
    courier.close()

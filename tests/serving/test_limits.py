"""With the platform's limits on, a namespace has so many calls a minute and so many at a time."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

from serving.answer import PlatformError
from serving.gateway import Callee
from serving.limits import Limits
from tests.serving.conftest import Project, serving


def refusal(limits: Limits) -> str:
    """What the call that is one too many is told."""
    with pytest.raises(PlatformError) as caught, limits.one_call():
        raise AssertionError("it was let in")
    assert caught.value.status == 429
    return caught.value.text


def test_a_minute_of_the_clock_has_so_many_calls() -> None:
    """Refused ones count too; the next minute begins at nought."""
    now = [59.0]
    limits = Limits(per_minute=2, clock=lambda: now[0])
    for _ in range(2):
        with limits.one_call():
            pass
    assert refusal(limits) == "Too many requests in the last minute (count: 3, allowed: 2)."
    assert refusal(limits) == "Too many requests in the last minute (count: 4, allowed: 2)."
    now[0] = 60.0
    with limits.one_call():
        pass


def test_so_many_calls_run_at_a_time() -> None:
    """A place is free again when its call is over, also when that failed."""
    limits = Limits(concurrent=1)
    with limits.one_call():
        assert refusal(limits) == "Too many concurrent requests in flight (count: 1, allowed: 1)."
    with pytest.raises(ValueError, match="failed"):
        _fail_in(limits)
    with limits.one_call():
        pass


def _fail_in(limits: Limits) -> None:
    with limits.one_call():
        raise ValueError("failed")


def test_the_platforms_numbers() -> None:
    """600 and 120, unless told otherwise."""
    limits = Limits()
    entered = [limits.one_call() for _ in range(120)]
    for one in entered:
        one.__enter__()
    assert refusal(limits) == "Too many concurrent requests in flight (count: 120, allowed: 120)."
    for one in entered:
        one.__exit__(None, None, None)
    for _ in range(600 - 121):
        with limits.one_call():
            pass
    assert refusal(limits) == "Too many requests in the last minute (count: 601, allowed: 600)."


def test_over_http_a_call_too_many_is_429(
    project: Project, run: Callable[[Any], Callee], http: requests.Session
) -> None:
    """In the platform's words, in both modes; OPTIONS and what is not there are not counted."""
    project.add("fn", "def main():\n    return {'body': 'well'}")
    with serving(project, run=run, limit=Limits(per_minute=1, clock=lambda: 0.0).one_call) as url:
        assert [http.options(f"{url}/shop/fn").status_code, http.get(f"{url}/shop/no").status_code] == [200, 404]
        assert http.get(f"{url}/shop/fn").text == "well"
        reply = http.get(f"{url}/shop/fn")
    assert reply.status_code == 429
    assert reply.json()["error"] == "Too many requests in the last minute (count: 2, allowed: 1)."


def test_over_http_calls_under_way_count(project: Project, run: Callable[[Any], Callee]) -> None:
    """The second at a time is refused where one is allowed."""
    begun, may_end = project.folder / "begun", project.folder / "may_end"
    project.add(
        "slow",
        f"""
        import time
        from pathlib import Path
        def main():
            Path({str(begun)!r}).touch()
            while not Path({str(may_end)!r}).exists():
                time.sleep(0.01)
            return {{"body": "finished"}}
        """,
    )
    first: list[str] = []
    with serving(project, run=run, limit=Limits(concurrent=1).one_call) as url:
        thread = threading.Thread(target=lambda: first.append(requests.get(f"{url}/shop/slow", timeout=60).text))
        thread.start()
        while not begun.exists():
            thread.join(0.01)
        second = requests.get(f"{url}/shop/slow", timeout=60).status_code
        may_end.touch()
        thread.join(60)
    assert second == 429
    assert first == ["finished"]

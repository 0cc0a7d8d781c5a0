"""The lifespan protocol around an application."""

from typing import Any

from vuer_rtc.lifespan import Lifespan

Log = list[str]
Event = dict[str, Any]


async def served(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": f"served {scope['type']}"})


def recorded(log: Log, name: str, fault: Exception | None = None) -> Any:
    async def step() -> None:
        log.append(name)
        if fault:
            raise fault

    return step


async def run(application: Lifespan, scope_type: str, *events: str) -> list[Event]:
    """Answers of the application to the events, which must all be read."""
    waiting = [{"type": event} for event in events]
    answers: list[Event] = []

    async def receive() -> Event:
        return waiting.pop(0)

    async def send(event: Event) -> None:
        answers.append(event)

    scope: Any = {"type": scope_type}
    await application(scope, receive, send)
    assert not waiting
    return answers


async def test_startup_and_shutdown_run_once_each_in_order() -> None:
    log: Log = []
    application = Lifespan(served, startup=recorded(log, "up"), shutdown=recorded(log, "down"))
    answers = await run(application, "lifespan", "lifespan.startup", "lifespan.shutdown")
    assert [answer["type"] for answer in answers] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert log == ["up", "down"]


async def test_a_failing_startup_is_told_and_ends_it() -> None:
    log: Log = []
    broken = recorded(log, "up", RuntimeError("no journal"))
    (answer,) = await run(
        Lifespan(served, startup=broken, shutdown=recorded(log, "down")), "lifespan", "lifespan.startup"
    )
    assert answer["type"] == "lifespan.startup.failed"
    assert "no journal" in answer["message"]
    assert log == ["up"]


async def test_other_scopes_reach_the_application() -> None:
    log: Log = []
    application = Lifespan(served, startup=recorded(log, "up"), shutdown=recorded(log, "down"))
    assert await run(application, "websocket") == [{"type": "served websocket"}]
    assert log == []

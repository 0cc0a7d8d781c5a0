from typing import Any

import pytest
from django.db import connection
from django.test import Client


def test_the_health_page_answers_without_a_database_and_is_not_cached() -> None:
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-store" in answer["Cache-Control"]
    assert Client().post("/healthz").status_code == 405


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_pages_answer_on_sites_whose_requests_are_transactions(
    path: str, admin_client: Client, monkeypatch: Any
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setattr("rooms.readiness.hub_of_this_process", lambda: None)  # other tests' may have stopped
    answer = admin_client.get(path)
    assert answer.status_code == 200, answer.content


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/readyz", 200), ("/metrics", 404), ("/api/rooms/stage/token/", 404)],
)
def test_a_site_that_wants_a_login_for_every_page_sends_no_machine_to_its_login_page(
    path: str, status: int, settings: Any, monkeypatch: Any
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    monkeypatch.setattr("rooms.readiness.hub_of_this_process", lambda: None)
    method = "POST" if path.startswith("/api") else "GET"
    assert Client().generic(method, path).status_code == status

from django.test import Client


def test_the_health_page_answers_without_a_database_and_is_not_cached() -> None:
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-store" in answer["Cache-Control"]
    assert Client().post("/healthz").status_code == 405

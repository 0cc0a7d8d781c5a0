"""Threads of one process write to SQLite one after the other, without its pauses."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections, transaction

from journal.durability import derived_rows
from journal.models import Document
from journal.turnstile import one_writer
from journal.writer import Appended, Draft, append_batches
from tests.journal.history import entries, message

SQLITE: Any = SimpleNamespace(vendor="sqlite", alias="here", in_atomic_block=False)


def test_a_second_thread_waits_until_the_first_has_written() -> None:
    has_begun, order = threading.Event(), []

    def write() -> None:
        has_begun.set()
        with one_writer(SQLITE):
            order.append("second")

    with one_writer(SQLITE):
        thread = threading.Thread(target=write)
        thread.start()
        has_begun.wait()
        thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    "change", [{"vendor": "postgresql"}, {"in_atomic_block": True}, {"alias": "elsewhere"}]
)
def test_nobody_waits_for_what_the_database_lets_happen_at_once(change: dict[str, Any]) -> None:
    with one_writer(SQLITE), one_writer(SimpleNamespace(**vars(SQLITE) | change)):
        pass


@pytest.mark.django_db(transaction=True)
def test_a_commit_waits_for_rows_and_is_written() -> None:
    document = Document.objects.create(slug="room")
    outcomes: list[Any] = []

    def append() -> None:
        outcomes.extend(append_batches([Draft(document.pk, 1, entries(message(1)))], "host"))
        connections.close_all()

    with derived_rows("default"):
        Document.objects.filter(pk=document.pk).update(title="A")
        thread = threading.Thread(target=append)
        thread.start()
        thread.join(0.05)
        is_early = bool(outcomes)
    thread.join()
    assert outcomes == [Appended(1, 1)]
    assert not (is_early and connections["default"].vendor == "sqlite")


@pytest.mark.django_db(transaction=True)
def test_rows_inside_a_transaction_do_not_wait_for_themselves() -> None:
    with transaction.atomic(), derived_rows("default"), derived_rows("default"):
        assert not Document.objects.exists()

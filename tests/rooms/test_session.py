import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from journal.models import Document
from rooms.models import Session
from rooms.process import ProcessIdentity
from rooms.session import (
    End,
    Progress,
    close_sessions_of_dead_processes,
    close_sessions_unseen_for,
    forget_onlookers,
    owner_of_client,
    save_ends,
    save_progress,
    touch_sessions,
)

MINE = ProcessIdentity.of_this_process()
DEAD = ProcessIdentity(MINE.host, MINE.pid, "earlier")
ELSEWHERE = ProcessIdentity("elsewhere", 7, "x")


def session(document: Document, process: ProcessIdentity = MINE, age_s: float = 0, **fields: Any) -> Session:
    then = timezone.now() - timedelta(seconds=age_s)
    given = {"client": "ann", "connected_at": then, "last_seen_at": then, "process": str(process), **fields}
    return Session.objects.create(document=document, **given)


def open_processes() -> set[str]:
    return set(Session.objects.connected().values_list("process", flat=True))


def test_progress_and_ends_are_written_to_their_rows_only(document: Document) -> None:
    first, second, third = session(document), session(document), session(document)
    save_progress([Progress(first.id, {"ann": 3}, 7)])
    save_ends([End(Progress(second.id, {"ann": 4}, 8), 1001, Session.ClosedBy.CLIENT)])
    for row in (first, second, third):
        row.refresh_from_db()
    assert (first.vector_clock, first.acked_seq, first.is_connected) == ({"ann": 3}, 7, True)
    assert (second.vector_clock, second.acked_seq, second.close_code) == ({"ann": 4}, 8, 1001)
    assert second.closed_at is not None
    assert second.closed_by == Session.ClosedBy.CLIENT
    assert (third.vector_clock, third.acked_seq, third.is_connected) == ({}, 0, True)


def test_a_client_id_belongs_to_the_first_account_that_used_it(document: Document) -> None:
    users = get_user_model()._default_manager
    ann, bob = users.create(username="ann"), users.create(username="bob")
    assert owner_of_client(document.pk, "tablet") is None
    session(document, client="tablet", age_s=30)
    assert owner_of_client(document.pk, "tablet") is None
    session(document, client="tablet", user=ann, age_s=20)
    session(document, client="tablet", user=bob, age_s=10)
    assert owner_of_client(document.pk, "tablet") == ann.pk
    assert owner_of_client(document.pk, "phone") is None


def test_sessions_of_crashed_processes_of_this_host_are_closed_others_not(document: Document) -> None:
    for process in (MINE, DEAD, ELSEWHERE):
        session(document, process)
    assert close_sessions_of_dead_processes(MINE) == 1
    assert open_processes() == {str(MINE), str(ELSEWHERE)}
    assert Session.objects.get(process=str(DEAD)).close_code == 1006
    assert close_sessions_of_dead_processes(MINE) == 0


def test_a_touch_says_that_all_open_sessions_of_the_process_are_alive(document: Document) -> None:
    mine, other = session(document, age_s=900), session(document, ELSEWHERE, age_s=900)
    touch_sessions(MINE)
    for row in (mine, other):
        row.refresh_from_db()
    assert mine.last_seen_at > other.last_seen_at


@pytest.mark.parametrize(
    ("arguments", "text", "left"),
    [
        ([], "closed 1 stale session\n", {str(MINE)}),
        (["--dry-run"], "would close 1 stale session\n", {str(MINE), str(ELSEWHERE)}),
        (["--unseen-for", "1000"], "closed 0 stale sessions\n", {str(MINE), str(ELSEWHERE)}),
    ],
)
def test_close_stale_sessions_closes_what_nobody_touched(
    document: Document, arguments: list[str], text: str, left: set[str]
) -> None:
    session(document, age_s=200)
    session(document, ELSEWHERE, age_s=400)
    output = StringIO()
    call_command("close_stale_sessions", *arguments, "--verbosity=2", stdout=output)
    assert output.getvalue() == text
    assert open_processes() == left
    output = StringIO()
    call_command("close_stale_sessions", *arguments, stdout=output)
    assert output.getvalue() == (text if "--dry-run" in arguments else ""), "cron hears what it asks for"
    output = StringIO()
    call_command("close_stale_sessions", *arguments, "--json", stdout=output)
    assert json.loads(output.getvalue())["sessions"] == text.startswith("would")


@pytest.mark.parametrize("given", ["-5", "nan", "1e300", "long"])
def test_close_stale_sessions_takes_no_age_that_is_none(document: Document, given: str) -> None:
    session(document, age_s=0)
    with pytest.raises(CommandError, match="is no number from 0"):
        call_command("close_stale_sessions", f"--unseen-for={given}")
    assert open_processes() == {str(MINE)}


@pytest.mark.sql
def test_many_stale_sessions_are_closed_a_part_at_a_time(document: Document) -> None:
    """All of them in one statement kept every live commit waiting for a second."""
    for n in range(25):
        session(document, ELSEWHERE, age_s=900, client=f"c{n}")
    touched = session(document, ELSEWHERE)
    with CaptureQueriesContext(connection) as asked:
        assert close_sessions_unseen_for(timedelta(seconds=600)) == 25
    assert len([query for query in asked if query["sql"].startswith("UPDATE")]) == 4
    assert list(Session.objects.connected()) == [touched]


def test_anonymous_visitors_who_wrote_nothing_are_forgotten(document: Document) -> None:
    """A connection of somebody's keeps its client id theirs, and who wrote may be asked for."""
    ann = get_user_model()._default_manager.create(username="ann")
    now, day = timezone.now(), 86_400

    def ended(client: str, days: float, **fields: Any) -> None:
        row = session(document, age_s=days * day, client=client)
        Session.objects.filter(pk=row.pk).update(closed_at=now - timedelta(days=days), **fields)

    for number in range(12):
        ended(f"onlooker-{number}", 31)
    ended("young", 29)
    ended("writer", 31, acked_seq=5)
    ended("hers", 31, user=ann)
    ended("member", 31, transport="broker")
    session(document, age_s=31 * day, client="open")
    arguments = ["close_stale_sessions", "--unseen-for=99999999", "--forget-after=30", "--json"]
    for more, outcome, left in ((["--dry-run"], "planned", 17), ([], "closed", 5)):
        output = StringIO()
        call_command(*arguments, *more, stdout=output)
        assert json.loads(output.getvalue()) == {"outcome": outcome, "sessions": 0, "forgotten": 12}
        assert Session.objects.count() == left
    assert set(Session.objects.values_list("client", flat=True)) == {
        "young",
        "writer",
        "hers",
        "member",
        "open",
    }
    assert forget_onlookers(timedelta(days=1)) == 1
    output = StringIO()
    call_command("close_stale_sessions", "--forget-after=1", "--verbosity=2", stdout=output)
    assert output.getvalue() == "closed 1 stale session\nforgot 0 anonymous sessions\n"

"""Connections closed by moderators; rule R4."""

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client as Browser

import rooms
from journal.models import Document
from rooms import access
from rooms.hub import Hub
from rooms.models import Session
from rooms.moderation import kick, reset
from tests.journal.site import Site
from tests.journal.test_commands import Terminal
from tests.rooms.client import Client
from tests.server import ServerProcess
from vuer_rtc.protocol.codes import CloseCode

from .build import insert
from .in_process import in_database
from .socket import Socket

LIST = "/admin/vuer_rooms/session/"


@pytest.fixture
def room(open_document: Document) -> Document:
    return open_document


@pytest.fixture
def hub_settings() -> dict[str, Any]:
    return {"RIGHTS_RECHECK_S": 0, "HEAD_POLL_S": 0.05}


async def close_code_of(socket: Socket) -> int | None:
    await socket.until(lambda: socket.close_code)
    return socket.close_code


async def test_who_is_sent_away_is_whom_everything_given_is_true_of(hub: Hub, room: Document) -> None:
    ann = await in_database(lambda: get_user_model()._default_manager.create(username="ann"))
    async with Socket("room", "a", ann) as a, Socket("room", "b", ann) as b, Socket("room", "c") as c:
        assert await in_database(lambda: kick(user=ann, client="b")) == 1
        assert await close_code_of(b) == CloseCode.KICKED
        assert (a.close_code, c.close_code) == (None, None)
        assert await in_database(lambda: kick(user=ann)) > 0
        assert await close_code_of(a) == CloseCode.KICKED
        assert await in_database(lambda: kick(document=room)) > 0
        assert await close_code_of(c) == CloseCode.KICKED
    async with Socket("room", "c") as again:
        assert again.close_code is None


async def test_s7_who_is_sent_away_and_does_not_read_that_writes_nothing_more(
    hub: Hub, room: Document
) -> None:
    async with Socket("room", "bob") as bob, Socket("room", "cy") as cy:
        bob.is_reading.clear()
        [connection] = [each for each in hub.connections if each.client == "bob"]
        connection.close(CloseCode.KICKED)
        bob.edit(insert("late"))
        cy.edit(insert("n"))
        await cy.until(lambda: cy.acks)
        assert cy.acks == {"cy:1": 1}
        assert cy.seen == []
        bob.is_reading.set()


async def test_a_request_that_no_news_tell_of_is_found_in_the_row(
    hub: Hub, room: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "announce", lambda news: False)
    async with Socket("room", "a") as a, Socket("room", "b") as b:
        await in_database(lambda: kick(client="a"))
        assert await close_code_of(a) == CloseCode.KICKED
        assert b.close_code is None


def test_the_site_s_own_code_finds_these_acts_in_one_place() -> None:
    assert (rooms.kick, rooms.reset, rooms.rights_changed) == (kick, reset, access.rights_changed)


def test_nobody_in_particular_is_not_everybody(db: None) -> None:
    with pytest.raises(ValueError, match="whose"):
        kick()
    with pytest.raises(CommandError, match="whose") as failure:
        call_command("close_sessions")
    assert failure.value.returncode == 2


def test_cron_is_told_by_the_exit_status_that_nobody_was_named(tmp_path: Path) -> None:
    done = Site(tmp_path / "site").run("close_sessions")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"say whose connections" in done.stderr


@pytest.mark.parametrize("option", ["--document", "--user", "--session"])
def test_the_command_knows_whom_it_is_asked_for(db: None, option: str) -> None:
    with pytest.raises(CommandError, match="there is no") as failure:
        call_command("close_sessions", option, "nobody")
    assert failure.value.returncode == 2


async def test_a_command_in_another_process_closes_a_socket_here(tmp_path: Path) -> None:
    settings = {"RIGHTS_RECHECK_S": 0, "HEAD_POLL_S": 0.1}
    with ServerProcess(tmp_path, settings=settings) as server:
        server.create_documents(["hall"])
        async with Client(server, "hall", "ann") as ann, Client(server, "hall", "bob") as bob:
            said = await asyncio.to_thread(
                server.manage, "close_sessions", "--document", "hall", "--client", "ann", "--json"
            )
            assert json.loads(said) == {"outcome": "closing", "sessions": 1}
            await ann.until(lambda: ann.close_code == CloseCode.KICKED)
            assert bob.close_code is None


# The admin


def moderator(room: Document) -> Any:
    user = get_user_model()._default_manager.create(username="mod", is_staff=True)
    user.user_permissions.add(
        Permission.objects.get(codename="view_session", content_type__app_label="vuer_rooms")
    )
    Document.objects.filter(pk=room.pk).update(owner=user)
    return user


def opened(document: Document, client: str) -> Session:
    now = document.created_at
    return Session.objects.create(
        document=document, client=client, process="p", connected_at=now, last_seen_at=now
    )


def test_a_moderator_closes_connections_of_their_own_documents_in_the_admin(document: Document) -> None:
    other = Document.objects.create(slug="other")
    mine, theirs = opened(document, "a"), opened(other, "b")
    user, browser = moderator(document), Browser()
    browser.force_login(user)
    chosen = {"action": "close_connections", "_selected_action": [str(mine.pk), str(theirs.pk)]}
    page = browser.post(LIST, chosen, follow=True).content.decode()
    assert "1 connection is being closed." in page
    assert "the other connections stay open" in page
    assert Session.objects.get(pk=mine.pk).close_requested_at is not None
    assert Session.objects.get(pk=theirs.pk).close_requested_at is None
    [entry] = LogEntry.objects.all()
    assert (entry.user, entry.object_id, entry.change_message) == (
        user,
        str(mine.pk),
        "Closed the connection.",
    )


def test_of_ended_connections_among_the_chosen_nothing_is_asked_and_nothing_said(document: Document) -> None:
    mine, over = opened(document, "a"), opened(Document.objects.create(slug="other"), "b")
    Session.objects.filter(pk=over.pk).update(closed_at=over.connected_at)
    browser = Browser()
    browser.force_login(moderator(document))
    chosen = {"action": "close_connections", "_selected_action": [str(mine.pk), str(over.pk)]}
    page = browser.post(LIST, chosen, follow=True).content.decode()
    assert "1 connection is being closed." in page
    assert "stay open" not in page


def test_the_command_says_how_many_to_whoever_listens(document: Document) -> None:
    opened(document, "a")
    opened(document, "b")
    cron, terminal = StringIO(), Terminal()
    call_command("close_sessions", "--document", "room", stdout=terminal)
    assert terminal.getvalue() == "closing 2 connections\n"
    call_command("close_sessions", "--document", "room", stdout=cron)
    assert cron.getvalue() == ""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from journal.error import JournalUnavailable
from journal.models import Document
from rooms import admission, record
from rooms.address import Address
from rooms.admission import Admission, admit
from rooms.models import Session, SpentToken
from rooms.policy import RoomPolicy
from rooms.process import ProcessIdentity
from rooms.record import record_session
from rooms.refusal import Refused
from rooms.tokens import mint
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.session import Right
from vuer_rtc.protocol.wire import Feature, Framing, Naming

ADDRESS = Address("room", "tablet", Framing.JSON, Naming.COMPRESSED, "203.0.113.7", "probe/1.0")
PROCESS = ProcessIdentity("host", 1, "x")


def enter(user: Any = None, **changes: Any) -> Admission:
    return admit(replace(ADDRESS, **changes), {"user": user or AnonymousUser()}, PROCESS)


def assert_refused(code: CloseCode, user: Any = None, **changes: Any) -> None:
    count = Session.objects.count()
    with pytest.raises(Refused) as refusal:
        enter(user, **changes)
    assert refusal.value.code is code
    assert Session.objects.count() == count


def account(name: str) -> Any:
    return get_user_model()._default_manager.create(username=name)


def test_who_is_let_in_has_a_session(document: Document) -> None:
    admitted = enter()
    row = Session.objects.get(pk=admitted.session_id)
    assert admitted.document_id == row.document_id == document.pk
    assert admitted.rights == {Right.VIEW, Right.EDIT}
    assert admitted.user is None
    assert row.user is None
    assert (row.client, row.transport, row.process) == ("tablet", "websocket, json", "host:1:x")
    assert (row.remote_address, row.user_agent) == ("203.0.113.7", "probe/1.0")
    assert row.is_connected


def test_an_account_is_written_down(document: Document) -> None:
    ann = account("ann")
    admitted = enter(ann)
    assert admitted.user == str(ann.pk)
    assert Session.objects.get(pk=admitted.session_id).user_id == ann.pk


def test_a_room_one_may_not_see_looks_like_none(document: Document) -> None:
    Document.objects.create(slug="private")
    Document.objects.create(slug="archived", visibility="public-edit", archived_at=timezone.now())
    for slug in ("nowhere", "private", "archived", "x" * 500, "a\0b", ""):
        assert_refused(CloseCode.UNKNOWN_ROOM, slug=slug)


def test_a_client_id_used_by_an_account_is_that_account_s_in_that_document(document: Document) -> None:
    ann, bob = account("ann"), account("bob")
    enter(ann)
    enter(ann)
    assert_refused(CloseCode.CLIENT_TAKEN, bob)
    assert_refused(CloseCode.CLIENT_TAKEN)
    enter(bob, client="phone")
    Document.objects.create(slug="other", visibility="public-edit")
    enter(bob, slug="other")


def test_anonymous_client_ids_are_nobody_s(document: Document) -> None:
    enter()
    enter()
    enter(account("ann"))
    assert_refused(CloseCode.CLIENT_TAKEN)


def test_of_two_claims_at_the_same_time_the_older_row_wins(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = account("ann"), account("bob")
    answers = iter([None, ann.pk])
    monkeypatch.setattr(record, "owner_of_client", lambda *_: next(answers))
    assert_refused(CloseCode.CLIENT_TAKEN, bob)


def test_a_database_that_does_not_answer_is_unavailable(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("disk")

    monkeypatch.setattr(record, "owner_of_client", fail)
    assert_refused(CloseCode.UNAVAILABLE)


def test_a_database_that_takes_no_rows_lets_people_in_to_look(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "save", fail)
        admitted = enter(account("ann"))
        assert not admitted.is_recorded
        assert admitted.row.pk == admitted.session_id
    assert Session.objects.count() == 0
    assert record_session(admitted.row)
    assert Session.objects.get().client == admitted.row.client
    assert enter(account("ann2"), client="other").is_recorded


class LockNotAvailable(Exception):
    """As PostgreSQL's driver has it."""

    sqlstate = "55P03"


def test_who_comes_behind_somebody_whom_a_lock_was_in_the_way_of_does_not_wait_for_it(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def fail(*_: Any, **__: Any) -> None:
        nonlocal tries
        tries += 1
        raise OperationalError("canceling statement due to lock timeout") from LockNotAvailable()

    enter(account("ann"), client="hers")
    other = Document.objects.create(slug="other", visibility="public-edit")
    with monkeypatch.context() as patch:
        patch.setattr(Session, "save", fail)
        waiting = [enter(client=f"c{number}") for number in range(9)]
        assert tries == 1
        assert not any(admitted.is_recorded for admitted in waiting)
        assert_refused(CloseCode.CLIENT_TAKEN, account("bob"), client="hers")
        enter(slug=other.slug)
        assert tries == 2, "that is another document"
    assert not enter(slug=document.slug, client="late").is_recorded
    assert record_session(waiting[0].row)
    assert enter(client="later").is_recorded, "the lock is gone"


@pytest.mark.django_db(transaction=True)
def test_a_row_that_was_written_although_the_connection_broke_is_found_by_the_next_try(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def breaking() -> Iterator[None]:
        yield
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(record, "_impatient", breaking)
        admitted = enter()
    assert not admitted.is_recorded
    assert record_session(admitted.row)
    assert Session.objects.count() == 1


def test_a_token_for_single_use_that_cannot_be_spent_lets_nobody_in(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("database or disk is full")

    token = mint(document, account("ann"), single_use=True)
    with monkeypatch.context() as patch:
        patch.setattr(SpentToken, "save", fail)
        assert_refused(CloseCode.UNAVAILABLE, token=token)
    assert enter(token=token).is_recorded


class NamelessPolicy(RoomPolicy):
    """Cannot say who somebody is."""

    def shown_name(self, user: Any) -> str | None:
        raise LookupError("no such profile")


def test_an_admission_that_fails_leaves_no_session_and_spends_no_token(
    document: Document, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a session would count as connected as long as the process lives."""

    def fail(*_: Any) -> None:
        raise JournalUnavailable("away")

    token = mint(document, account("ann"), single_use=True)
    with monkeypatch.context() as patch:
        patch.setattr(admission, "read_heads", fail)
        assert_refused(CloseCode.UNAVAILABLE, token=token)
    settings.VUER_RTC = {"POLICY": f"{__name__}.NamelessPolicy"}
    with pytest.raises(LookupError):
        enter(token=token, features=frozenset({Feature.PRESENCE}))
    assert (Session.objects.count(), SpentToken.objects.count()) == (0, 0)


def test_limits_are_the_site_s_and_the_document_s_and_bad_ones_count_for_nothing(
    document: Document, settings: Any
) -> None:
    settings.VUER_RTC = {"LIMITS": {"nodes_max": 10, "ops_per_message_max": 5}}
    Document.objects.filter(pk=document.pk).update(limits={"nodes_max": 7})
    limits = enter().limits
    assert (limits.nodes_max, limits.ops_per_message_max) == (7, 5)
    for bad in ({"nodes_max": -1}, {"no_limit": 1}, [1]):
        Document.objects.filter(pk=document.pk).update(limits=bad)
        assert enter().limits.nodes_max == 10


@override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo")
def test_a_token_for_single_use_lets_in_once_where_times_have_no_zone(document: Document) -> None:
    token = mint(document, account("ann"), single_use=True)
    enter(token=token)
    assert_refused(CloseCode.BAD_TOKEN, token=token)


def test_a_token_for_single_use_lets_in_once(document: Document) -> None:
    ann = account("ann")
    token = mint(document, ann, single_use=True)
    assert enter(token=token).user == str(ann.pk)
    assert_refused(CloseCode.BAD_TOKEN, token=token)
    token = mint(document, ann)
    assert enter(token=token, client="a").user == enter(token=token, client="b").user == str(ann.pk)


def test_spent_tokens_are_forgotten_once_they_have_expired(document: Document) -> None:
    enter(token=mint(document, single_use=True), client="a")
    SpentToken.objects.update(expires_at=timezone.now())
    enter(token=mint(document, single_use=True), client="b")
    assert SpentToken.objects.count() == 1


def test_many_spent_tokens_are_forgotten_a_few_at_a_time(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes first after a year of them has not to wait for all, nor has whoever writes."""
    monkeypatch.setattr("rooms.admission.EXPIRED_MAX", 3)
    for number in range(4):
        enter(token=mint(document, single_use=True), client=f"c{number}")
    SpentToken.objects.update(expires_at=timezone.now())
    left = []
    for number in range(3):
        enter(token=mint(document, single_use=True), client=f"d{number}")
        left.append(SpentToken.objects.count())
    assert left == [2, 2, 3]


def test_that_a_token_has_expired_is_told_to_who_could_enter_and_to_nobody_else(document: Document) -> None:
    """R2."""
    ann = account("ann")
    Document.objects.create(slug="hers", owner=ann)
    hers = Document.objects.get(slug="hers")
    assert_refused(CloseCode.TOKEN_EXPIRED, slug="hers", token=mint(hers, ann, expires_in_s=1e-6))
    assert_refused(CloseCode.UNKNOWN_ROOM, slug="hers", token=mint(hers, account("bob"), expires_in_s=1e-6))
    assert_refused(CloseCode.UNKNOWN_ROOM, slug="hers", token=mint(document, ann))
    assert_refused(CloseCode.UNKNOWN_ROOM, slug="nowhere", token=mint(hers, ann))
    assert_refused(CloseCode.BAD_TOKEN, slug="nowhere", token="forged")
    ann.is_active = False
    ann.save()
    assert_refused(CloseCode.UNKNOWN_ROOM, slug="hers", token=mint(hers, ann))


def test_a_client_id_is_its_account_s_whatever_lets_it_in(document: Document) -> None:
    ann, bob = account("ann"), account("bob")
    enter(token=mint(document, ann, client="tablet"))
    enter(ann)
    assert_refused(CloseCode.CLIENT_TAKEN, token=mint(document, bob))
    assert_refused(CloseCode.CLIENT_TAKEN, token=mint(document, granter=ann))
    assert_refused(CloseCode.CLIENT_TAKEN, bob)


def test_an_answer_takes_the_same_questions_whether_there_is_such_a_room_or_none_one_may_see(
    document: Document,
) -> None:
    """R2: nobody learns of a room from the time the refusal takes."""
    Document.objects.create(slug="private", owner=account("ann"))
    Document.objects.create(slug="archived", visibility="public-edit", archived_at=timezone.now())
    expired = mint(document, account("cy"), expires_in_s=1e-6)
    bob, model = account("bob"), get_user_model()
    for user, token in ((AnonymousUser(), None), (bob, None), (bob, expired), (bob, mint(document, bob))):
        counts = set()
        for slug in ("private", "archived", "nowhere"):
            fresh = user if user.is_anonymous else model._default_manager.get(pk=user.pk)
            with CaptureQueriesContext(connection) as queries, pytest.raises(Refused) as refusal:
                enter(fresh, slug=slug, token=token)
            assert refusal.value.code is CloseCode.UNKNOWN_ROOM
            counts.add(len(queries))
        assert len(counts) == 1


class Choosy(RoomPolicy):
    """Looks at what only a saved document has."""

    def rights(self, user: Any, document: Document) -> Any:
        return super().rights(user, document) if document.created_at.year else frozenset()


def test_a_policy_that_stumbles_over_a_room_that_is_nowhere_says_that_it_is_nowhere(
    document: Document, settings: Any
) -> None:
    settings.VUER_RTC = {"POLICY": f"{__name__}.Choosy"}
    assert_refused(CloseCode.UNKNOWN_ROOM, slug="nowhere")
    enter()

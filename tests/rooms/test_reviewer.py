"""Rights that change while sockets are open, in one process; rule R3.  Between processes: test_rights_live."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.utils import timezone

from journal.models import Document
from rooms import admission, reviewer
from rooms.hub import Hub, current_hub
from rooms.policy import RoomPolicy
from rooms.tokens import mint
from rooms.verdict import verdicts_of
from vuer_rtc.protocol.codes import CloseCode

from .build import insert
from .in_process import in_database
from .socket import Socket

pytestmark = pytest.mark.django_db(transaction=True)

NEVER = 0
NATIVE = "&format=json&v=2"


@pytest.fixture
def ann(transactional_db: None) -> Any:
    return get_user_model()._default_manager.create(username="ann")


@pytest.fixture
def room(open_document: Document) -> Document:
    return open_document


@pytest.fixture
def hub_settings() -> dict[str, Any]:
    return {"RIGHTS_RECHECK_S": NEVER, "HEAD_POLL_S": 0.05}


async def change(room: Document, **fields: Any) -> None:
    def save() -> None:
        for name, value in fields.items():
            setattr(room, name, value)
        room.save()

    await in_database(save)


async def update_behind_its_back(room: Document, **fields: Any) -> None:
    await in_database(lambda: Document.objects.filter(pk=room.pk).update(**fields))


def told(socket: Socket) -> list[list[str]]:
    return [frame["rights"] for frame in socket.frames if frame["mtype"] == "rights"]


async def test_edit_is_lost_and_gained_while_the_socket_is_open(hub: Hub, room: Document) -> None:
    async with Socket("room", "ann", query=NATIVE) as ann, Socket("room", "bob") as bob:
        await change(room, is_read_only=True)
        await ann.until(lambda: told(ann) == [["view"]])
        ann.edit(insert("n"))
        bob.edit(insert("m"))
        await ann.until(lambda: ann.errors == ["forbidden"])
        await bob.until(lambda: bob.errors == ["forbidden"])
        await change(room, is_read_only=False)
        await ann.until(lambda: told(ann) == [["view"], ["edit", "view"]])
        ann.edit(insert("n"))
        await bob.until(lambda: bob.seen == ["ann:2"])
        assert told(bob) == []


@pytest.mark.parametrize("fields", [{"visibility": "private"}, {"archived_at": timezone.now()}])
async def test_who_may_not_see_it_any_more_is_sent_away(
    hub: Hub, room: Document, fields: dict[str, Any]
) -> None:
    async with Socket("room", "ann") as ann:
        await change(room, **fields)
        await ann.until(lambda: ann.close_code == CloseCode.FORBIDDEN)


async def test_an_account_that_is_closed_ends_its_connections_and_no_others(
    hub: Hub, room: Document, ann: Any
) -> None:
    async with Socket("room", "a", ann) as hers, Socket("room", "b") as other:
        ann.is_active = False
        await in_database(ann.save)
        await hers.until(lambda: hers.close_code == CloseCode.LOGGED_OUT)
        assert other.close_code is None


async def test_who_was_let_in_by_somebody_s_leave_goes_with_them(hub: Hub, room: Document, ann: Any) -> None:
    await change(room, owner=ann, visibility="private")
    token = mint(room, granter=ann)
    async with Socket("room", "guest", query=f"&format=json&token={token}") as guest:
        await in_database(ann.delete)
        await guest.until(lambda: guest.close_code == CloseCode.LOGGED_OUT)


async def test_a_permission_given_to_an_account_reaches_its_socket(
    hub: Hub, room: Document, ann: Any
) -> None:
    await change(room, visibility="public-view")
    async with Socket("room", "a", ann, NATIVE) as hers:
        permission = await in_database(lambda: Permission.objects.get(codename="change_document"))
        await in_database(lambda: ann.user_permissions.add(permission))
        await hers.until(lambda: told(hers) == [["edit", "view"]])


async def test_what_another_process_changed_is_found_with_the_heads(hub: Hub, room: Document) -> None:
    async with Socket("room", "ann", query=NATIVE) as ann:
        assert room.pk in hub._reviewer._versions, "what comes next would not be a change to it"
        await update_behind_its_back(room, is_read_only=True, access_version=7)
        await ann.until(lambda: told(ann) == [["view"]])


async def test_what_nothing_told_is_found_by_the_slow_check(room: Document, settings: Any) -> None:
    settings.VUER_RTC = {"RIGHTS_RECHECK_S": 0.05}
    hub = current_hub()
    async with Socket("room", "ann", query=NATIVE) as ann:
        await update_behind_its_back(room, is_read_only=True)
        await ann.until(lambda: told(ann) == [["view"]])
    await hub.stop()


async def test_a_change_between_admission_and_join_is_not_missed(
    hub: Hub, room: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = admission.limits_of

    def late(document: Document) -> Any:
        Document.objects.filter(pk=document.pk).update(visibility="public-view", access_version=7)
        return real(document)

    async with Socket("room", "bob"):
        monkeypatch.setattr(admission, "limits_of", late)
        async with Socket("room", "ann", query=NATIVE) as ann:
            await ann.until(lambda: told(ann) == [["view"]])


async def test_a_document_that_is_gone_sends_everybody_away(hub: Hub, room: Document) -> None:
    async with Socket("room", "ann") as ann:
        await in_database(lambda: Document.objects.filter(pk=room.pk).delete())
        await ann.until(lambda: ann.close_code == CloseCode.FORBIDDEN)


async def test_a_database_that_does_not_answer_is_asked_again(
    hub: Hub, room: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OperationalError("disk")]

    def unlucky(visits: Any) -> Any:
        if failures:
            raise failures.pop()
        return verdicts_of(visits)

    monkeypatch.setattr(reviewer, "verdicts_of", unlucky)
    monkeypatch.setattr(reviewer, "PAUSE_S", 0.01)
    async with Socket("room", "ann", query=NATIVE) as ann:
        await change(room, is_read_only=True)
        await ann.until(lambda: told(ann) == [["view"]])
    assert failures == []


class Moody(RoomPolicy):
    is_broken = False

    def rights(self, user: Any, document: Document) -> Any:
        if self.is_broken:
            raise RuntimeError("the site's own fault")
        return super().rights(user, document)


async def test_a_policy_that_fails_changes_nothing(
    hub: Hub, room: Document, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VUER_RTC = {**settings.VUER_RTC, "POLICY": f"{__name__}.Moody"}
    async with Socket("room", "ann", query=NATIVE) as ann:
        monkeypatch.setattr(Moody, "is_broken", True)
        await change(room, is_read_only=True)
        monkeypatch.setattr(Moody, "is_broken", False)
        await change(room, visibility="public-view")
        await ann.until(lambda: told(ann) == [["view"]])
        assert ann.close_code is None


async def test_l7_changed_limits_reach_open_sockets_and_native_clients_are_told(
    hub: Hub, room: Document
) -> None:
    async with Socket("room", "ann", query=NATIVE) as ann, Socket("room", "bob") as bob:
        ann.edit(insert("a"), insert("b"))
        await bob.until(lambda: bob.seen == ["ann:1"])
        await change(room, limits={"ops_per_message_max": 1, "nodes_max": 3})
        await ann.until(lambda: told(ann) == [["edit", "view"]])
        [limits] = [frame["limits"] for frame in ann.frames if frame["mtype"] == "rights"]
        assert (limits["ops_per_message_max"], limits["nodes_max"]) == (1, 3)
        bob.edit(insert("c"), insert("d"))
        await bob.until(lambda: bob.errors == ["over-limit"])
        bob.edit(insert("c"))
        await ann.until(lambda: ann.seen[-1:] == ["bob:2"])
        bob.edit(insert("d"))
        await bob.until(lambda: bob.errors == ["over-limit", "too-many-nodes"])
        await change(room, limits={})
        await ann.until(lambda: len(told(ann)) == 2)
        bob.edit(insert("d"), insert("e"))
        await ann.until(lambda: ann.seen[-1:] == ["bob:4"])
        assert told(bob) == []


@pytest.mark.sql
async def test_a_row_that_cannot_be_read_takes_and_keeps_nobody_s_rights_elsewhere(
    hub: Hub, room: Document
) -> None:
    """Else one number in the limits of one document would let everybody stay wherever they are."""

    def spoil() -> None:
        limits = f'{{"nodes_max": {"9" * 5000}}}'
        with connection.cursor() as cursor:
            update = f"UPDATE {Document._meta.db_table} SET limits = %s, access_version = 7 WHERE slug = %s"
            cursor.execute(update, [limits, "spoilt"])

    spoilt = await in_database(lambda: Document.objects.create(slug="spoilt", visibility="public-edit"))
    async with Socket("spoilt", "bob") as bob, Socket("room", "ann") as ann:
        await in_database(spoil)
        await update_behind_its_back(room, visibility="private")
        hub._reviewer.request([spoilt.pk, room.pk])
        await ann.until(lambda: ann.close_code == CloseCode.FORBIDDEN)
        assert bob.close_code is None


async def test_l7_limits_that_make_no_sense_change_nothing(hub: Hub, room: Document) -> None:
    async with Socket("room", "ann", query=NATIVE) as ann:
        await change(room, limits={"nodes_max": "many"})
        ann.edit(insert("a"))
        await ann.until(lambda: "ann:1" in ann.acks)
        assert told(ann) == []

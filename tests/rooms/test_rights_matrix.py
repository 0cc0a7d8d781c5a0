"""Every role, in every kind of document, by every way in, sends every message: what happens is what the table says.

A real server; the table below is written down by itself, not taken from the policy.  Rules S2, R1, R2, R6.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.rooms.disk import open_database
from tests.server import HOST, ServerProcess
from vuer_rtc.protocol.codes import CloseCode

PATIENCE_S = 30
VISIBILITIES = ("private", "public-view", "public-edit")
CONDITIONS = ("open", "read-only", "archived")
ROOMS = [(visibility, condition) for visibility in VISIBILITIES for condition in CONDITIONS]

VIEW, EDIT, MODERATE = "view", "edit", "moderate"
OWN: dict[str, set[str]] = {
    "anonymous": set(),
    "other": set(),
    "viewer": {VIEW},
    "editor": {VIEW, EDIT},
    "moderator": {VIEW, MODERATE},
    "owner": {VIEW, EDIT, MODERATE},
    "deactivated": set(),
}
"""What each role has by itself."""
PUBLIC = {"private": set[str](), "public-view": {VIEW}, "public-edit": {VIEW, EDIT}}
WAYS = ("cookie", "token", "guest")

SETUP = """
import json, sys
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from journal.authoring import Author
from journal.models import Document
from rooms import tokens

codenames = {{"viewer": "view_document", "editor": "change_document", "moderator": "moderate_document"}}
users, cookies, minted = {{}}, {{}}, {{}}
for role in {roles!r}:
    if role != "anonymous":
        user = users[role] = get_user_model().objects.create(username=role)
        if role in codenames:
            user.user_permissions.add(Permission.objects.get(codename=codenames[role]))
        browser = Client()
        browser.force_login(user)
        cookies[role] = browser.cookies["sessionid"].value
for visibility, condition in {rooms!r}:
    slug = f"{{visibility}}-{{condition}}"
    room = Document.objects.create(slug=slug, visibility=visibility, owner=users["owner"])
    Author(room.pk).write([{{"ot": "node.insert", "key": "", "path": "children", "value": {{"key": "n"}}}}])
    for role in {roles!r}:
        user = users.get(role)
        minted[f"token {{role}} {{slug}}"] = tokens.mint(room, user)
        minted[f"guest {{role}} {{slug}}"] = tokens.mint(room, granter=user)
    minted[f"expired {{slug}}"] = tokens.mint(room, users["owner"], expires_in_s=1e-6)
    minted[f"narrow {{slug}}"] = tokens.mint(room, users["owner"], rights=["view"])
    minted[f"bound {{slug}}"] = tokens.mint(room, users["owner"], client="pad")
    minted[f"once {{slug}}"] = tokens.mint(room, users["owner"], single_use=True)
    room.is_read_only = condition == "read-only"
    room.archived_at = timezone.now() if condition == "archived" else None
    room.save()
users["deactivated"].is_active = False
users["deactivated"].save()
print(json.dumps([cookies, minted]))
"""


@dataclass(frozen=True)
class Site:
    server: ServerProcess
    cookies: dict[str, str]
    tokens: dict[str, str]

    def url(self, slug: str, client: str, query: str = "") -> str:
        return f"{self.server.url(slug, client)}{query}"

    def fold(self) -> list[tuple[str, int]]:
        """How far each document's journal is: what no refused frame may change."""
        with closing(open_database(self.server.data_dir)) as database:
            return list(
                database.execute(
                    "SELECT slug, max(last_seq) FROM vuer_journal_document d JOIN vuer_journal_journalbatch b"
                    " ON b.document_id = d._id GROUP BY slug ORDER BY slug"
                )
            )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    limits = {"read_burst_max": 1000, "fault_burst_max": 1000}
    with ServerProcess(tmp_path_factory.mktemp("matrix"), settings={"LIMITS": limits}) as server:
        code = SETUP.format(roles=list(OWN), rooms=ROOMS)
        cookies, tokens = json.loads(server.manage("shell", "--no-imports", "-c", code).splitlines()[-1])
        yield Site(server, cookies, tokens)


def rights(role: str, way: str, visibility: str, condition: str) -> set[str]:
    """The table."""
    if condition == "archived" or (role == "deactivated" and way != "cookie"):
        return set()
    found = OWN[role] | PUBLIC[visibility]
    return found - {EDIT} if condition == "read-only" else found


Case = tuple[str, str, str, str]
CASES: list[Case] = [(role, way, *room) for role in OWN for way in WAYS for room in ROOMS]


class Visitor:
    """Somebody who came in, speaking JSON or msgpack."""

    def __init__(self, socket: ClientConnection, client: str, is_json: bool, is_legacy: bool) -> None:
        self.socket = socket
        self.client = client
        self.is_json = is_json
        self.is_legacy = is_legacy
        self.counter = 0

    async def send(self, wire: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(wire) if self.is_json else msgspec.msgpack.encode(wire))

    async def hear(self) -> dict[str, Any]:
        frame = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        wire: dict[str, Any] = json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)
        return wire

    async def ask(self, wire: dict[str, Any], *kinds: str) -> dict[str, Any]:
        """The next answer of one of those kinds; what others do meanwhile passes by."""
        await self.send(wire)
        while (answer := await self.hear())["mtype"] not in kinds:
            pass
        return answer

    def commit(self, *ops: dict[str, Any]) -> dict[str, Any]:
        self.counter += 1
        names = (
            ("sessionId", "lamportTime", "timestamp", "otype")
            if self.is_legacy
            else ("client", "lt", "ts", "ot")
        )
        client, lt, ts, ot = names
        renamed = [{ot: op["ot"], **{k: v for k, v in op.items() if k != "ot"}} for op in ops]
        identity = {"id": f"{self.client}:{self.counter}", "clock": {self.client: self.counter}}
        return {**identity, client: self.client, lt: 100 + self.counter, ts: 1.5, "ops": renamed}


@asynccontextmanager
async def visit(
    site: Site, slug: str, client: str, *, cookie: str = "", token: str = "", query: str = "", origin: str = "",
    is_json: bool = True, is_legacy: bool = False,
) -> AsyncIterator[Visitor]:  # fmt: skip
    framing = f"&format={'json' if is_json else 'msgpack'}&naming={'legacy' if is_legacy else 'compressed'}"
    offered = [Subprotocol("vuer-rtc"), Subprotocol(f"vuer-rtc.token.{token}")] if token else None
    headers = {"Cookie": f"sessionid={cookie}"} if cookie else {}
    async with connect(
        site.url(slug, client, framing + query),
        additional_headers=headers,
        subprotocols=offered,
        origin=Origin(origin) if origin else None,
        compression=None,
    ) as socket:
        yield Visitor(socket, client, is_json, is_legacy)


def credentials(site: Site, role: str, way: str, slug: str) -> dict[str, str]:
    if way == "cookie":
        return {"cookie": site.cookies.get(role, "")}
    return {"token": site.tokens[f"{way} {role} {slug}"]}


async def close_code(visitor: Visitor) -> int | None:
    """The code of a connection that is closed before it hears anything."""
    try:
        heard = await visitor.hear()
    except ConnectionClosed:
        return visitor.socket.close_code
    raise AssertionError(f"let in, and told {heard}")


async def end_of(visitor: Visitor) -> int | None:
    """The code that a connection is closed with, whatever it hears before."""
    with suppress(ConnectionClosed):
        while True:
            await visitor.hear()
    return visitor.socket.close_code


PUT = {"ot": "number.set", "key": "n", "path": "x", "value": 1}
UNDO_OTHERS = {"ot": "meta.undo", "key": "_meta", "path": "_meta", "targetMsgId": "somebody:1"}
SERVER_ONLY = (
    "welcome",
    "state",
    "broadcast",
    "batch",
    "ack",
    "error",
    "rights",
    "sync-status",
    "kicked",
    "",
    None,
)


def edits_of(visitor: Visitor) -> list[dict[str, Any]]:
    """Every way to say that something is to be changed."""
    node = {"key": "", "path": "children"}
    kinds: list[dict[str, Any]] = [
        PUT,
        {**PUT, "ot": "number"},
        {**node, "ot": "node.remove", "value": "n"},
        {**node, "ot": "node.insert", "value": {"key": "m"}},
        {**node, "ot": "node.move", "value": {"nodeKey": "n", "newParent": ""}},
        {"ot": "text.init", "key": "n", "path": "t", "value": "x"},
        UNDO_OTHERS,
        {**UNDO_OTHERS, "ot": "meta.redo"},
        {"ot": "server.cut", "value": 9},
        {"ot": "server.reset", "value": {"epoch": 9, "lt": 9}},
    ]
    commits = [visitor.commit(op) for op in kinds]
    bare, marked = visitor.commit(PUT), {**visitor.commit(PUT), "auth": True, "serverSeq": 1}
    return [*({"mtype": "crdt", "msg": commit} for commit in (*commits, marked)), bare]


async def assert_may_look(visitor: Visitor) -> None:
    assert (await visitor.ask({"mtype": "sync"}, "state"))["mtype"] == "state"
    answer = await visitor.ask({"mtype": "sync-check", "requestId": "q"}, "sync-status")
    assert answer["requestId"] == "q"
    await visitor.send({"mtype": "heartbeat", "client": visitor.client, "vectorClock": {}})
    for mtype in SERVER_ONLY:
        answer = await visitor.ask({"mtype": mtype, "msg": visitor.commit(PUT), "rights": [EDIT]}, "error")
        assert answer["code"] == "unknown-mtype", mtype


async def assert_cannot_edit(visitor: Visitor) -> None:
    for wire in edits_of(visitor):
        answer = await visitor.ask(wire, "ack", "error")
        assert answer["mtype"] == "error", wire
        assert answer["code"] in ("forbidden", "unknown-op"), wire


async def assert_can_edit(visitor: Visitor, *, may_moderate: bool) -> None:
    assert (await visitor.ask({"mtype": "crdt", "msg": visitor.commit(PUT)}, "ack", "error"))[
        "mtype"
    ] == "ack"
    answer = await visitor.ask({"mtype": "crdt", "msg": visitor.commit(UNDO_OTHERS)}, "ack", "error")
    assert (answer["mtype"] == "ack") is may_moderate, answer
    another = {"id": "x", "client": "somebody", "sessionId": "somebody", "clock": {"somebody": 1}}
    foreign = {**visitor.commit(PUT), **another}
    assert (await visitor.ask({"mtype": "crdt", "msg": foreign}, "ack", "error"))["code"] == "foreign-client"


async def live_through(site: Site, case: Case, number: int) -> None:
    role, way, visibility, condition = case
    slug, expected = f"{visibility}-{condition}", rights(*case)
    is_json, is_legacy = number % 2 == 0, number % 4 > 1
    client = f"{role}-{way}-{number}"
    given = credentials(site, role, way, slug)
    async with visit(site, slug, client, is_json=is_json, is_legacy=is_legacy, **given) as visitor:
        if VIEW not in expected:
            assert await close_code(visitor) == CloseCode.UNKNOWN_ROOM
            return
        assert (await visitor.hear())["mtype"] == "state"
        await assert_may_look(visitor)
        if EDIT in expected:
            await assert_can_edit(visitor, may_moderate=MODERATE in expected)
        else:
            await assert_cannot_edit(visitor)
    async with visit(
        site, slug, client, query="&v=2", is_json=is_json, is_legacy=is_legacy, **given
    ) as native:
        welcome = await native.hear()
        assert welcome["rights"] == sorted(expected)
        answer = await native.ask({"mtype": "room-reset", "epoch": 99}, "error")
        could = MODERATE in expected and condition == "open"
        assert answer["code"] == ("stale-epoch" if could else "forbidden")


async def all_of(site: Site, cases: list[tuple[int, Case]]) -> None:
    """Eight at a time; a failure names its case."""
    gate = asyncio.Semaphore(8)

    async def one(number: int, case: Case) -> None:
        async with gate:
            try:
                await live_through(site, case, number)
            except Exception as error:
                raise AssertionError(f"{case}: {error!r}") from error

    await asyncio.gather(*(one(number, case) for number, case in cases))


async def test_who_may_not_edit_changes_nothing_by_any_frame(site: Site) -> None:
    """S2, R2, R6."""
    cases = [(n, case) for n, case in enumerate(CASES) if EDIT not in rights(*case)]
    before = site.fold()
    await all_of(site, cases)
    assert site.fold() == before
    assert len(cases) > 100


async def test_who_may_edit_edits(site: Site) -> None:
    cases = [(n, case) for n, case in enumerate(CASES) if EDIT in rights(*case)]
    before = dict(site.fold())
    await all_of(site, cases)
    after = dict(site.fold())
    assert {slug for slug in after if after[slug] > before[slug]} == {f"{v}-{c}" for _, (_, _, v, c) in cases}


async def test_what_is_no_token_opens_nothing(site: Site) -> None:
    """R1, R2: the same answer for rooms that are there and rooms that are not."""
    good = site.tokens["token owner private-open"]
    forged = [
        good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        good.split(".")[0] + ".",
        "x",
        good + "x",
        good[::-1],
    ]
    for slug in ("private-open", "public-edit-open", "nowhere"):
        for token in forged:
            async with visit(site, slug, "pad", token=token) as visitor:
                assert await close_code(visitor) == CloseCode.BAD_TOKEN


async def test_another_document_s_token_opens_nothing(site: Site) -> None:
    token = site.tokens["token owner private-open"]
    for slug in ("private-read-only", "public-edit-open", "nowhere", "private-archived"):
        async with visit(site, slug, "pad", token=token) as visitor:
            assert await close_code(visitor) == CloseCode.UNKNOWN_ROOM


async def test_an_expired_token_opens_nothing_and_says_so_where_it_once_did(site: Site) -> None:
    for slug, code in (
        ("private-open", CloseCode.TOKEN_EXPIRED),
        ("private-archived", CloseCode.UNKNOWN_ROOM),
    ):
        async with visit(site, slug, "pad", token=site.tokens[f"expired {slug}"]) as visitor:
            assert await close_code(visitor) == code


async def test_a_replayed_token_lets_in_its_own_client_or_nobody(site: Site) -> None:
    once = site.tokens["once private-open"]
    async with visit(site, "private-open", "tap", token=once) as first:
        assert (await first.hear())["mtype"] == "state"
        async with visit(site, "private-open", "tap", token=once) as replayed:
            assert await close_code(replayed) == CloseCode.BAD_TOKEN
        assert (await first.ask({"mtype": "sync-check", "requestId": "q"}, "sync-status"))["requestId"] == "q"
    bound = site.tokens["bound private-open"]
    async with visit(site, "private-open", "pad", token=bound) as first:
        assert (await first.hear())["mtype"] == "state"
        async with visit(site, "private-open", "thief", token=bound) as replayed:
            assert await close_code(replayed) == CloseCode.BAD_TOKEN
        async with visit(site, "private-open", "pad", token=bound) as again:
            assert (await again.hear())["mtype"] == "state"
            assert await end_of(first) == CloseCode.REPLACED


async def test_a_token_for_looking_only_is_for_looking_only(site: Site) -> None:
    async with visit(site, "private-open", "lens", token=site.tokens["narrow private-open"]) as visitor:
        assert (await visitor.hear())["mtype"] == "state"
        await assert_cannot_edit(visitor)


async def test_a_client_id_is_its_account_s_whatever_others_bring(site: Site) -> None:
    slug, owner = "public-edit-open", site.cookies["owner"]
    async with visit(site, slug, "hers", cookie=owner) as visitor:
        assert (await visitor.hear())["mtype"] == "state"
        for given in (
            {"cookie": site.cookies["editor"]}, {}, {"token": site.tokens[f"token editor {slug}"]},
            {"token": site.tokens[f"guest owner {slug}"]}, {"token": site.tokens[f"token anonymous {slug}"]},
        ):  # fmt: skip
            async with visit(site, slug, "hers", **given) as thief:
                assert await close_code(thief) == CloseCode.CLIENT_TAKEN
        async with visit(site, "private-open", "hers", cookie=site.cookies["other"]) as outsider:
            assert await close_code(outsider) == CloseCode.UNKNOWN_ROOM
        async with visit(site, slug, "hers", token=site.tokens[f"token owner {slug}"]) as herself:
            assert (await herself.hear())["mtype"] == "state"
            assert await end_of(visitor) == CloseCode.REPLACED


async def test_a_page_of_another_site_gets_no_handshake_whatever_cookie_it_brings(site: Site) -> None:
    statuses = set()
    for slug in ("private-open", "public-edit-open", "nowhere"):
        for origin in ("https://evil.example", "null", f"http://{HOST}.evil.example"):
            with pytest.raises(InvalidStatus) as refusal:
                async with visit(site, slug, "pad", cookie=site.cookies["owner"], origin=origin):
                    pass
            statuses.add(refusal.value.response.status_code)
    assert statuses == {403}
    async with visit(
        site, "private-open", "pad", cookie=site.cookies["owner"], origin=f"http://{HOST}"
    ) as page:
        assert (await page.hear())["mtype"] == "state"

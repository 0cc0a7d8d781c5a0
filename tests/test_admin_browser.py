"""An operator in a real browser, people in the room on real sockets: who changed this, and can I have it back?"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Page, expect

from tests.browser import chromium
from tests.rooms.build import insert, put
from tests.rooms.client import Client, NativeClient
from tests.server import HOST, ServerProcess
from vuer_rtc.crdt.message import Op

PATIENCE_MS = 30_000
OPERATOR = "from django.contrib.auth.models import User\nUser.objects.create_superuser('olga', password='pw')"
NAMED = """
from django.contrib.auth.models import User
from django.utils import timezone
from journal.models import Document
from rooms.models import Session
user = User.objects.create_user({user!r})
document = Document.objects.create(slug={slug!r}, title={title!r}, owner=user)
client, now = str(len({title!r})) + "-client", timezone.now()
Session.objects.create(document=document, client=client, user=user, connected_at=now, last_seen_at=now, closed_at=now)
"""
ENDS = """() => {
    const crumbs = document.querySelector(".breadcrumbs"), rest = document.createRange();
    rest.selectNodeContents(crumbs.lastChild);
    return [crumbs.lastElementChild.getBoundingClientRect().right, rest.getBoundingClientRect().left + 1];
}"""
UNDERLINED = """chosen => {
    const links = [...document.querySelectorAll(chosen)];
    return links.length && links.every(link => getComputedStyle(link).textDecorationLine === "underline");
}"""
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all; each test has a document of its own."""
    with ServerProcess(tmp_path_factory.mktemp("admin")) as running:
        running.create_documents(
            ["lost", "past", "narrow", "small", "titled", "turned", "seen", "undone", "times"]
        )
        running.manage("shell", "--no-imports", "-c", OPERATOR)
        yield running


@pytest.fixture
async def page(server: ServerProcess) -> AsyncIterator[Page]:
    """The admin's index, logged in; a page error or a dialog fails the test."""
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        await page.goto(f"{server_url(server)}/admin/")
        await page.fill("#id_username", "olga")
        await page.fill("#id_password", "pw")
        await page.click("input[type=submit]")
        yield page
        assert not troubles


def remove(key: str) -> Op:
    return Op(ot="node.remove", key="", path="children", value=key)


def server_url(server: ServerProcess) -> str:
    return f"http://{HOST}:{server.port}"


async def listed(page: Page, url: str, text: str) -> None:
    """Returns once the projections have come so far that a list shows the text; its page is not opened."""
    for _ in range(PATIENCE_MS // 100):
        if f">{text}</" in await (await page.request.get(url)).text():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{url} never showed {text}")


async def told(page: Page, words: str) -> None:
    await expect(page.locator(".messagelist")).to_contain_text(words, timeout=PATIENCE_MS)


async def test_a_lost_object_comes_back_in_three_clicks_and_everybody_sees_it(
    server: ServerProcess, page: Page
) -> None:
    async with NativeClient(server, "lost", "ann") as ann, Client(server, "lost", "robot-7") as robot:
        await ann.edit(insert("arm"))
        await ann.edit(put("arm", "x", 41))
        await robot.edit(put("arm", "x", 42))
        assert await robot.edit(remove("arm")) == 4
        await ann.assert_same()
        assert ann.native.graph.nodes()["arm"].deleted
        await listed(
            page, f"{server_url(server)}/admin/vuer_journal/sceneobject/?is_tombstone__exact=1", "arm"
        )

        await page.click("text=Scene objects")  # 1
        await page.click("#result_list >> text=arm")  # 2: who changed it, from what
        history = page.locator("#object-history tbody tr")
        await expect(history.nth(0)).to_contain_text("robot-7")
        await expect(history.nth(0)).to_contain_text("removed")
        await expect(history.nth(1)).to_contain_text("robot-7")
        await expect(history.nth(1)).to_contain_text("41")
        await history.nth(1).get_by_role("button", name="Have it back").click()  # 3
        await told(page, "Restored the object arm to sequence 3")

        await ann.until(lambda: not ann.native.graph.nodes()["arm"].deleted)
        assert ann.native.graph.nodes()["arm"].properties["x"] == 42
        await ann.assert_same()
        await robot.until(lambda: "arm" in robot.states[-1]["snapshot"]["graph"]["nodes"])
        await expect(page.locator(".field-condition")).to_contain_text("shown")


async def test_an_operator_labels_looks_back_compares_restores_and_takes_that_back(
    server: ServerProcess, page: Page
) -> None:
    async with NativeClient(server, "past", "ann") as ann:
        await ann.edit(insert("arm"))
        await ann.edit(put("arm", "x", 41))
        await page.click("text=Documents")
        await page.click("text=past")
        await page.click(".object-tools >> text=Looking back")
        await page.fill("#id_name", "before the incident")
        await page.click("text=Label it")
        await told(page, "before the incident")
        await ann.edit(put("arm", "x", 666), insert(HOSTILE))

        await page.click("#labels >> text=before the incident")
        await page.click("text=What would change?")
        difference = page.locator("#difference tbody")
        await expect(difference).to_contain_text(HOSTILE)
        await expect(difference).to_contain_text("666")
        await page.click("text=Restore the document to this state")
        await told(page, "Restored the document to sequence 2")
        await ann.until(lambda: ann.native.graph.nodes()["arm"].properties["x"] == 41)
        assert ann.native.graph.nodes()[HOSTILE].deleted
        await ann.assert_same()

        await page.click(".messagelist >> text=the message at sequence 4")
        await page.click("#result_list >> text=4/0")
        await page.click("text=Undo this message")
        await told(page, "is undone")
        await ann.until(lambda: ann.native.graph.nodes()["arm"].properties["x"] == 666)
        assert not ann.native.graph.nodes()[HOSTILE].deleted
        await ann.assert_same()

        await page.goto(f"{server_url(server)}/admin/vuer_journal/document/?q=past")
        await page.click("#result_list tbody th a")
        await page.click(".object-tools >> text=Looking back")
        drop = page.get_by_role("button", name="Drop it for good")
        await expect(drop).to_be_hidden()  # one click too many would cost what is kept nowhere else
        await page.click("#labels >> text=Drop…")
        await drop.click()
        await told(page, "The label “before the incident” is gone.")


async def test_no_page_is_wider_than_a_telephone(server: ServerProcess, page: Page) -> None:
    async with Client(server, "narrow", "a-client-with-a-long-name-" * 4) as ann:
        await ann.edit(insert("key-" * 50), put("key-" * 50, "path-" * 40, 1))
        await ann.edit(Op(ot="string.set", key="key-" * 50, path="s", value="word" * 200))
    await listed(page, f"{server_url(server)}/admin/vuer_journal/operation/?q=key-", "2/0")
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.click("text=Documents")
    await page.click("text=narrow")
    await page.click("text=Looking back")
    await page.goto(f"{page.url}?since=0")
    await assert_fits(page)
    await page.click("#messages a >> text=a-client >> nth=0")
    await page.click("#result_list tbody th a >> nth=0")
    await assert_fits(page)


async def test_a_list_on_a_small_screen_keeps_its_room_and_its_rows_are_low(
    server: ServerProcess, page: Page
) -> None:
    async with Client(server, "small", "clerk") as clerk:
        await clerk.edit(insert("k" * 255))
    url = f"{server_url(server)}/admin/vuer_journal/operation/?q=kkk"
    await listed(page, url, "1/0")
    await page.set_viewport_size({"width": 800, "height": 900})
    await page.goto(url)
    await assert_fits(page)
    room = await page.locator("#changelist .results").bounding_box()
    row = await page.locator("#result_list tbody tr").first.bounding_box()
    assert room is not None
    assert row is not None
    assert room["width"] > 400
    assert row["height"] < 80
    scrolled = "element => element.scrollWidth > element.clientWidth && getComputedStyle(element).overflowX"
    assert await page.locator("#changelist .results").evaluate(scrolled) == "auto"


@pytest.mark.parametrize("title", ["a title of many words " * 8, "W" * 190], ids=["words", "word"])
async def test_a_long_title_runs_neither_under_the_tools_nor_out_of_the_page(
    server: ServerProcess, page: Page, title: str
) -> None:
    await page.goto(f"{server_url(server)}/admin/vuer_journal/document/?q=titled")
    await page.click("#result_list tbody th a")
    await page.fill("#id_title", title)
    await page.click("[name=_continue]")
    for width in (800, 1100, 1400):
        await page.set_viewport_size({"width": width, "height": 900})
        await assert_title_is_free(page)
        await page.click("text=Looking back")
        await assert_title_is_free(page)
        await page.go_back()


@pytest.mark.parametrize("model", ["document", "sceneobject"])
async def test_the_last_column_of_a_list_is_whole(server: ServerProcess, page: Page, model: str) -> None:
    async with Client(server, "narrow", f"clerk-{model}") as clerk:
        await clerk.edit(insert("arm"))
    await listed(page, f"{server_url(server)}/admin/vuer_journal/sceneobject/?q=arm", "arm")
    await page.set_viewport_size({"width": 1300, "height": 900})
    await page.goto(f"{server_url(server)}/admin/vuer_journal/{model}/")
    hidden = "element => element.scrollWidth - element.clientWidth"
    assert await page.locator("#changelist .results").evaluate(hidden) <= 0


@pytest.mark.parametrize("name", ["W" * 150, "a name of many words " * 7], ids=["word", "words"])
async def test_names_as_long_as_may_be_leave_the_lists_as_they_are(
    server: ServerProcess, page: Page, name: str
) -> None:
    user = name[:140] + str(len(name))
    server.manage(
        "shell", "--no-imports", "-c", NAMED.format(slug=f"{len(name)}-{'s' * 180}", title=name, user=user)
    )
    await page.set_viewport_size({"width": 1300, "height": 900})
    for path in (
        f"vuer_journal/document/?q={len(name)}-ss",
        f"vuer_rooms/session/?client={len(name)}-client",
    ):
        await page.goto(f"{server_url(server)}/admin/{path}")
        row = await page.locator("#result_list tbody tr").bounding_box()
        assert row is not None
        assert row["height"] < 100
        hidden = "element => element.scrollWidth - element.clientWidth"
        assert await page.locator("#changelist .results").evaluate(hidden) <= 0, path
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.click("#result_list tbody th a")
    await assert_fits(page)
    await page.goto(f"{server_url(server)}/admin/vuer_journal/document/?q={len(name)}-ss")
    await page.click("#result_list tbody th a")
    for tool in ("Delete for good", "Reset"):
        await page.click(f".object-tools >> text={tool}")
        await assert_fits(page)
        await page.go_back()


async def test_a_name_that_turns_the_writing_about_turns_itself_only(
    server: ServerProcess, page: Page
) -> None:
    await page.goto(f"{server_url(server)}/admin/vuer_journal/document/?q=turned")
    await page.click("#result_list tbody th a")
    await page.fill("#id_title", "\u202eabc")
    await page.click("[name=_continue]")
    await page.click("text=Looking back")
    end_of_title, start_of_rest = await page.evaluate(ENDS)
    assert end_of_title < start_of_rest


async def test_who_sees_no_colours_or_nothing_finds_the_links_and_the_fields(
    server: ServerProcess, page: Page
) -> None:
    async with Client(server, "seen", "ann") as ann:
        await ann.edit(insert("arm"))
        await ann.edit(put("arm", "x", 1))
    await page.goto(f"{server_url(server)}/admin/vuer_journal/document/?q=seen")
    assert await page.evaluate(UNDERLINED, ".breadcrumbs a")
    await page.click("#result_list tbody th a")
    for half in ("date", "time"):
        await expect(page.get_by_label(f"Archived at: {half}", exact=True)).to_be_visible()
    await page.click("text=Looking back")
    await page.goto(f"{page.url}?seq=1&since=2")
    assert await page.evaluate(UNDERLINED, ".breadcrumbs a, #content p a, .point a, #difference td div a")
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.locator("#difference .told").focus()
    assert await page.evaluate("document.activeElement.matches('#difference .told')")


async def test_a_comparison_with_a_time_is_what_one_sees_next(server: ServerProcess, page: Page) -> None:
    async with Client(server, "times", "ann") as ann:
        await ann.edit(insert("arm"))
        for number in range(60):
            await ann.edit(insert(f"box{number}"))
    await page.goto(f"{server_url(server)}/admin/vuer_journal/document/?q=times")
    await page.click("#result_list tbody th a")
    await page.click("text=Looking back")
    await page.fill("#id_since_at", "2026-01-31T10:00:00")
    await page.click("#difference >> text=Compare >> nth=1")
    await expect(page.locator("#difference")).to_contain_text("From sequence 0 to 61")
    await expect(page.locator("#difference h2")).to_be_in_viewport()


async def test_what_was_done_in_the_admin_is_read_on_a_telephone(server: ServerProcess, page: Page) -> None:
    async with Client(server, "undone", "ann") as ann:
        await ann.edit(insert("arm"))
        await ann.edit(put("arm", "x", 1))
    await page.goto(f"{server_url(server)}/admin/vuer_journal/document/?q=undone")
    await page.click("#result_list tbody th a")
    await page.click("text=Looking back")
    await page.goto(f"{page.url}?seq=1")
    await page.click("text=Restore the document to this state")
    await told(page, "Restored the document to sequence 1")
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.click("text=History in the admin")
    await expect(page.locator("#change-history")).to_contain_text("=restore:")
    await assert_fits(page)


async def assert_title_is_free(page: Page) -> None:
    await assert_fits(page)
    tools = await page.locator(".object-tools").bounding_box()
    heading = await page.locator("#content > :is(h1, h2)").last.bounding_box()
    assert tools is not None
    assert heading is not None
    assert heading["y"] + heading["height"] <= tools["y"]


async def assert_fits(page: Page) -> None:
    wide, narrow = await page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= narrow

"""One message comes in twice at awkward moments, and is journalled once (rules J7, A3)."""

import asyncio

from tests.rooms.client import Client
from tests.schedules.audit import assert_sound, audit
from tests.schedules.place import SLUG, Counter, Site

TIMES = 40


async def test_a_message_sent_again_while_the_first_copy_waits_is_journalled_and_told_once(
    site: Site,
) -> None:
    here, there = site.started(), site.started()
    async with (
        Counter(here, SLUG, "ann") as ann,
        Counter(there, SLUG, "ann") as again,
        Client(here, SLUG, "bob") as bob,
    ):
        await ann.count_on(1)
        again.sent, again.counter, again.lt = dict(ann.sent), ann.counter, ann.lt
        with site.no_commits():
            first = await ann.count()
            for copy in (ann, again, again):
                await copy.resend(first)
            for one in (bob, again):
                await one.status()  # by now the copies are where messages wait
            assert first.id not in ann.acks | again.acks
        assert await ann.acked(first) == await again.acked(first) == 2
        await ann.count_on(1)
        await bob.until(lambda: len(bob.broadcasts) == 3)
        assert bob.seqs() == [1, 2, 3]
    assert_sound(await asyncio.to_thread(audit, site.shell, SLUG), ann.acked_seqs)


async def test_the_same_message_sent_to_two_processes_at_once_is_journalled_once_and_acked_by_both(
    site: Site,
) -> None:
    here, there = site.started(), site.started()
    async with Counter(here, SLUG, "ann") as one, Counter(there, SLUG, "ann") as other:
        for _ in range(TIMES):
            await asyncio.gather(one.count(), other.count())
        for copy in (one, other):
            await copy.until(lambda copy=copy: not copy.unacked)
    assert one.acked_seqs == other.acked_seqs
    assert sorted(one.acked_seqs.values()) == list(range(1, TIMES + 1))
    assert_sound(await asyncio.to_thread(audit, site.shell, SLUG), one.acked_seqs)

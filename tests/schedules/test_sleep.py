"""A process sleeps (SIGSTOP) in the middle of a commit while the world goes on, and wakes up (rules J6 to J9,
J12)."""

import asyncio

import pytest

from tests.schedules.audit import assert_sound, audit
from tests.schedules.place import SLUG, Counter, Site, wait_until_asleep, wake


async def assert_agreed(site: Site, ann: Counter, bob: Counter) -> None:
    """Both clients' servers are at one digest, the journal's own, and nothing is lost or doubled."""
    for one in (ann, bob):
        await one.count_on(1)
        await one.until(lambda one=one: not one.unacked)
    found = await asyncio.to_thread(audit, site.shell, SLUG)
    assert_sound(found, ann.acked_seqs | bob.acked_seqs)
    assert found.counts == {one.name: one.counter for one in (ann, bob)}
    for one in (ann, bob):
        for _ in range(100):
            status = await one.status()
            if status["serverSeq"] == found.head_seq:
                break
            await asyncio.sleep(0.1)
        assert status["digest"] == found.digest


@pytest.mark.parametrize("point", ["append.drafted", "append.committed"])
async def test_j8_a_writer_that_slept_while_cron_compacted_past_its_head_loses_and_repeats_nothing(
    site: Site, point: str
) -> None:
    sleeper, other = site.started(f"{point}:4:SIGSTOP"), site.started()
    async with Counter(sleeper, SLUG, "ann") as ann, Counter(other, SLUG, "bob") as bob:
        for _ in range(3):
            await ann.count_on(1)
        slept_on = await ann.count()
        await asyncio.to_thread(wait_until_asleep, sleeper)
        for _ in range(15):
            await bob.count_on(5)
        assert '"compacted"' in await asyncio.to_thread(site.compact)
        assert (await asyncio.to_thread(audit, other, SLUG)).truncated_seq > 60
        assert slept_on.id not in ann.acks
        wake(sleeper)
        assert (await ann.acked(slept_on) > 75) is (point == "append.drafted")
        await assert_agreed(site, ann, bob)


async def test_j7_nobody_overtakes_a_writer_that_sleeps_inside_its_transaction(site: Site) -> None:
    """Others wait for it (on SQLite for the write lock, on PostgreSQL for the row) or go before it, and all is
    written in the end."""
    sleeper, other = site.started("append.inserted:2:SIGSTOP"), site.started()
    async with Counter(sleeper, SLUG, "ann") as ann, Counter(other, SLUG, "bob") as bob:
        await ann.count_on(1)
        slept_on = await ann.count()
        await asyncio.to_thread(wait_until_asleep, sleeper)
        waiting = asyncio.create_task(bob.count_on(20))
        compacting = asyncio.create_task(asyncio.to_thread(site.compact))
        await asyncio.sleep(1)
        assert slept_on.id not in ann.acks
        wake(sleeper)
        await ann.acked(slept_on)
        await waiting
        await compacting
        await assert_agreed(site, ann, bob)

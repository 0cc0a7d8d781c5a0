"""What is committed reaches everybody in the end, whoever dies or says nothing (rules A7, J17)."""

import asyncio
import time

import pytest

from tests.rooms.disk import assert_journalled_once
from tests.schedules.audit import assert_sound, audit
from tests.schedules.place import SLUG, Counter, Site


@pytest.mark.parametrize("point", ["append.committed", "settle.told"])
async def test_j17_what_a_process_committed_and_did_not_tell_reaches_the_others_and_is_acked_when_sent_again(
    site: Site, point: str
) -> None:
    doomed, other = site.started(f"{point}:2"), site.started()
    async with Counter(other, SLUG, "bob") as bob:
        ann = Counter(doomed, SLUG, "ann")
        await ann.open()
        await ann.count_on(1)
        sent = await ann.count()
        await ann.until(lambda: ann.close_code is not None)
        assert sent.id not in ann.acks
        await bob.until(lambda: [message["id"] for message in bob.broadcasts] == ["ann:1", "ann:2"])
        assert doomed.process is not None
        assert doomed.process.wait() == -9
        doomed.process = None
        ann.url = other.url(SLUG, "ann", format="json")
        await ann.open()
        await ann.resend(sent)
        assert await ann.acked(sent) == 2
        await ann.count_on(1)
        await ann.leave()
    assert_journalled_once(site.data_dir, SLUG, set(ann.acks), site.database_url)


async def test_a7_a_last_message_whose_fan_out_is_lost_reaches_other_processes_within_moments(
    site: Site,
) -> None:
    """The servers share no channel layer: nothing one of them says is ever heard by the other."""
    here, there = site.started(), site.started()
    async with Counter(here, SLUG, "ann") as ann, Counter(there, SLUG, "bob") as bob:
        for burst in (1, 20, 3):
            await ann.count_on(burst)
            begun_at = time.monotonic()
            await bob.until(lambda: len(bob.broadcasts) == ann.counter)
            assert time.monotonic() - begun_at < 10, "a second, and what a busy machine takes"
        assert bob.seqs() == list(range(1, 25))
        assert (await ann.status())["digest"] == (await bob.status())["digest"]
    assert_sound(await asyncio.to_thread(audit, site.shell, SLUG), ann.acked_seqs)

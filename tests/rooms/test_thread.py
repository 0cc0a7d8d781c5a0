import threading

import pytest

from rooms.thread import Worker


async def test_functions_run_in_the_named_thread_in_order() -> None:
    worker = Worker("one")
    names = [await worker.run(lambda: threading.current_thread().name) for _ in range(2)]
    assert names == ["one_0", "one_0"]
    await worker.close()


async def test_what_a_function_raises_is_raised_where_it_is_awaited() -> None:
    worker = Worker("one")
    with pytest.raises(ZeroDivisionError):
        await worker.run(divmod, 1, 0)
    await worker.close()


async def test_close_ends_every_thread() -> None:
    worker = Worker("several", threads=3)
    await worker.run(int)
    await worker.close()
    with pytest.raises(RuntimeError):
        await worker.run(int)

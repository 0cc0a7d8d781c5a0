"""What the register makes of a database that fails: the rows alone, the database a fake."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, DataError, InterfaceError, OperationalError

from rooms.models import Session
from rooms.process import ProcessIdentity
from rooms.register import Register
from rooms.session import End, Progress, save_ends
from rooms.tally import tally


class Database:
    """Takes rows, but for those that it is told of; raises what it is told when it is away."""

    def __init__(self) -> None:
        self.hopeless: set[UUID] = set()
        self.away: Exception | None = None
        self.taken: list[UUID] = []

    async def run(self, work: Callable[..., Any], given: Any) -> None:
        if self.away is not None:
            raise self.away
        if work is not save_ends:
            return
        keys = [end.progress.session_id for end in given]
        if self.hopeless & set(keys):
            raise DataError("no such row can be")
        self.taken += keys


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def register(database: Database) -> Register:
    return Register(ProcessIdentity.of_this_process(), database)  # type: ignore[arg-type]


def ended(register: Register, *numbers: int) -> None:
    for number in numbers:
        progress = Progress(UUID(int=number), {}, 0)
        register.note_end(End(progress, 1000, Session.ClosedBy.CLIENT))


async def test_a_row_that_cannot_be_written_is_dropped_and_counted_the_others_are_written(
    register: Register, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    before = tally.failures["session"]
    database.hopeless = {UUID(int=2)}
    ended(register, 1, 2, 3)
    await register.write()
    assert database.taken == [UUID(int=1), UUID(int=3)]
    assert tally.failures["session"] == before + 1
    assert "no such row can be" in caplog.text
    await register.write()
    assert database.taken == [UUID(int=1), UUID(int=3)], "nothing is left to write"


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("the disk is full"),
        InterfaceError("the connection is closed"),
        DatabaseError("all that MongoDB's backend says of a replica set without a primary"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_while_the_database_is_away_rows_are_kept_in_order(
    error: Exception, register: Register, database: Database
) -> None:
    database.away = error
    ended(register, 1, 2)
    await register.write()
    ended(register, 3)
    await register.write()
    database.away = None
    await register.write()
    assert database.taken == [UUID(int=1), UUID(int=2), UUID(int=3)]


async def test_a_touch_that_fails_ends_nothing(register: Register, database: Database) -> None:
    before = tally.failures["session"]
    for error in (OperationalError("away"), RuntimeError("a defect")):
        database.away = error
        await register._touch()
    assert tally.failures["session"] == before + 1

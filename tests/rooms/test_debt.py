"""What heavy messages cost is owed beyond the connection they came by."""

from uuid import UUID, uuid4

from rooms.admission import Admission
from rooms.credential import Credential
from rooms.debt import Ledger
from vuer_rtc.protocol.limit import Limits

ROOM, OTHER = UUID(int=1), UUID(int=2)


def admission(account: int | None = None, document: UUID = ROOM) -> Admission:
    return Admission(document, uuid4(), Credential(account), frozenset(), 0, Limits())


def test_l9_a_debt_is_paid_by_waiting_four_times_as_long() -> None:
    """L9."""
    debt = Ledger().debt_of(admission(1), "")
    debt.add(1.0, now=100)
    assert debt.owed_s(102) == 0.5
    debt.add(1.0, now=102)
    assert debt.owed_s(104) == 1.0
    assert debt.owed_s(200) == 0


def test_l9_who_comes_back_owes_it_still_and_nobody_else_does() -> None:
    """L9: the account, else the address, in this document."""
    ledger = Ledger()
    for of, address in ((admission(1), "10.0.0.1"), (admission(), "2001:db8::1")):
        ledger.debt_of(of, address).add(1.0, now=0)
    owed = [ledger.debt_of(*who).owed_s(0) for who in (
        (admission(1), "10.0.0.9"), (admission(), "2001:db8::2"),
        (admission(2), "10.0.0.1"), (admission(), "10.0.0.1"), (admission(1, OTHER), "10.0.0.1"),
        (admission(), "2001:db8:0:1::1"),
    )]  # fmt: skip
    assert owed == [1, 1, 0, 0, 0, 0]


def test_l9_who_has_no_address_owes_nothing_of_others() -> None:
    """L9: behind a Unix socket all would be one."""
    ledger = Ledger()
    ledger.debt_of(admission(), "").add(1.0, now=0)
    assert ledger.debt_of(admission(), "").owed_s(0) == 0


def test_of_many_the_one_not_seen_for_longest_is_forgotten() -> None:
    ledger = Ledger(payers_max=2)
    for account in (1, 2, 1, 3):
        ledger.debt_of(admission(account), "").add(1.0, now=0)
    assert [ledger.debt_of(admission(account), "").owed_s(0) for account in (1, 2)] == [2, 0]

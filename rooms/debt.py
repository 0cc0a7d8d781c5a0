"""What heavy messages have cost the process and is not paid for yet (rule L9); it outlives the connection."""

from collections import OrderedDict
from uuid import UUID

from rooms.admission import Admission
from rooms.throttle import household_of
from vuer_rtc.protocol.session import WORK_SHARE_MAX

PAYERS_MAX = 10_000
"""Remembered; who was not seen for longest is forgotten first."""


class Debt:
    """Of one payer; it is paid by waiting."""

    def __init__(self) -> None:
        self._work_s = 0.0
        self._reckoned_at = 0.0

    def owed_s(self, now: float) -> float:
        """Processor time, in seconds.  `now` is monotonic, in seconds."""
        return max(0.0, self._work_s - max(0.0, now - self._reckoned_at) * WORK_SHARE_MAX)

    def add(self, work_s: float, now: float) -> None:
        """Note that one of its messages took so long."""
        self._work_s, self._reckoned_at = self.owed_s(now) + work_s, now


class Ledger:
    """The debts of those who were here lately, each in one document."""

    def __init__(self, payers_max: int = PAYERS_MAX) -> None:
        self._payers_max = payers_max
        self._debts: OrderedDict[tuple[UUID, str], Debt] = OrderedDict()

    def debt_of(self, admission: Admission, address: str) -> Debt:
        """That of the account; of an anonymous visitor, that of the address."""
        household = household_of(address)
        if admission.user is None and not household:
            return Debt()  # on a Unix socket nobody knows who it is
        payer = f"account {admission.user}" if admission.user is not None else household
        place = admission.document_id, payer
        debt = self._debts.pop(place, None) or Debt()
        self._debts[place] = debt
        while len(self._debts) > self._payers_max:
            self._debts.popitem(last=False)
        return debt

"""A rate per visitor, for pages: in this process's memory, for a bounded number of visitors."""

import threading
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

from vuer_rtc.protocol.limit import TokenBucket


class Throttle:
    """Lets everybody through so often; who was not seen for longest is forgotten first."""

    def __init__(self, visitors_max: int = 10_000) -> None:
        self._visitors_max = visitors_max
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._lock = threading.Lock()

    def takes(self, visitor: str, per_minute: int) -> bool:
        """True as long as the visitor stays below its rate; a minute's worth may come at once."""
        with self._lock:
            bucket = self._buckets.pop(visitor, None) or TokenBucket(per_minute / 60, per_minute)
            self._buckets[visitor] = bucket
            while len(self._buckets) > self._visitors_max:
                self._buckets.popitem(last=False)
            return bucket.take(time.monotonic())


def household_of(address: str) -> str:
    """The address itself; of IPv6 its first half: who has one of such a network has all of them (RFC 6177)."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address  # on a Unix socket there is none
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))

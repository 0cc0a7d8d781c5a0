"""How a server process is at one moment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vitals:
    """Taken when somebody asks; counts since the start are in `rooms.tally`, but for those of other parts."""

    is_leaving: bool
    """It was told to stop."""
    stuck_s: float
    """How long nothing has been written although something waits."""
    unanswered_s: float
    """The same, unless somebody's lock is all that is in the way."""
    rooms: int
    native_sessions: int
    published_sessions: int
    presences: int
    """People shown in this process's rooms, those on other processes included."""
    waiting_messages: int
    """For the journal, in all rooms."""
    waiting_bytes: int
    """Those messages and the ones being written."""
    queued_bytes: int
    """For all sockets."""
    queued_bytes_of_slowest: int
    projection_messages_behind: int
    """Of the room whose `Operation` rows lack most."""
    news_told: int
    """To other processes, since the start."""
    news_heard: int
    news_lost: int
    """That we know of: the channel layer was away."""
    signals_dropped: int
    """Receivers of Django signals were too slow."""

"""Settings of the live side: `settings.VUER_RTC = {"ROOM_IDLE_S": 120, …}`.

Read on access, so that `override_settings` works; validated by Django's system checks.  The unit is in the
name, the reason beside the default.
"""

from typing import Any, get_origin, get_type_hints

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from journal.settings import PREFIX as JOURNAL
from vuer_rtc.protocol.limit import Limits


class RoomSettings:
    """Every setting with its default; `VUER_RTC` overrides it under the name in capitals."""

    policy: str = "rooms.policy.RoomPolicy"
    """Dotted path of the class that says who may do what; see `rooms.policy`."""

    rights_recheck_s: float = 30
    """How often the policy is asked again for every open connection; 0: never.  Changes that Django's signals tell
    arrive within a second; this finds those they do not tell, and costs a few queries per account and room."""

    token_lifetime_s: float = 3600
    """How long a room token holds unless it was asked for otherwise.  A connection is closed when its token ends; a
    client that stays longer fetches another."""
    token_lifetime_max_s: float = 86_400
    """Longest that the page for tokens gives; Python code may mint longer ones."""
    token_requests_per_minute_max: int = 60
    """Tokens that the page gives one account, or one address without an account, in a minute."""

    group_commit_window_ms: float = 33
    """Longest a message waits for company before its commit begins.  A batch closes as soon as a turn of
    the event loop brings nothing more, so an idle server commits at once, and under a flood after as long as
    the last commit took; this bounds it where commits are slow.  Two frames at 60 Hz."""
    batch_messages_max: int = 1000
    """Messages of one journal batch (one row).  Keeps one room from holding up everybody's commit."""
    batch_bytes_max: int = 4_194_304
    """Received bytes of one journal batch.  Some databases hold 16 MiB per row, and decoded entries are
    larger."""
    waiting_messages_max: int = 10_000
    """Messages of one room that wait for the journal (it is slow or away).  Beyond it senders are told
    `unavailable`."""
    waiting_bytes_max: int = 67_108_864
    """Received bytes that wait for the journal in this process, all rooms together."""
    retry_delay_first_ms: float = 50
    """Pause after the journal was unavailable; doubles up to the next setting, with jitter."""
    retry_delay_max_ms: float = 2000
    """Longest pause between two tries: how late at most a recovered database is noticed."""

    commit_patience_s: float = 2
    """How long a commit may take before those who wait for it are told `unavailable`; it goes on.  A database that
    is locked or does not answer may take much longer to say so."""

    limits: dict[str, float] = {}
    """Site-wide overrides of `vuer_rtc.protocol.limit.Limits`; a document's own go on top."""

    close_timeout_s: float = 2
    """How long a socket may take to accept its close frame before it is dropped."""

    slug_chars_max: int = 200
    """Longer names in the path are nobody's; saves the look-up."""

    state_tail_messages: int = 100
    """Messages a `state` carries as journal beside the snapshot: how far a published client can undo after
    a join."""

    state_tail_bytes_max: int = 1_048_576
    """Size of these, as msgpack: fewer are carried when they are large, or each join would cost a hundred times the
    values that they set."""

    recent_messages_max: int = 2000
    """Messages that a live room remembers as they went out.  Who comes back within so many is sent those it
    missed without a look into the database; others cost a read, or get the whole state.  A state that was made serves
    who joins before so many have come since somebody did."""
    recent_bytes_max: int = 16_777_216
    """Bytes of the operations of those messages, as msgpack."""
    since_messages_max: int = 10_000
    """Messages that are read from the journal for a client that comes back; one that missed more gets the
    state, which holds less.  So many may follow a state that was made a moment ago, too.  Keep it below the limit
    `outbound_frames_max`: who is sent more frames at once is closed as too slow."""
    since_bytes_max: int = 33_554_432
    """Bytes of the operations of those messages, as msgpack: as much as a state has beside the nodes.  What a room has
    missed of other processes is read in parts of so many."""
    resumed_bytes_max: int = 268_435_456
    """Bytes on their way to clients that came back, of all rooms.  What each has missed is made for it alone, and stays
    in memory when it does not read: beyond it, who comes back is sent the state, which all share."""
    undoable_messages_max: int = 100
    """Ids of its own messages that a native client is told when it joins: how far it can undo what it did
    before a reload."""

    head_poll_s: float = 1
    """How often one query asks how far the documents of all live rooms are.  What another process wrote is
    noticed that late at most; 0: never, for sites whose only process this is."""

    presence_updates_per_second: float = 20
    """How often a client is told of others' presence, at most; it draws what is between by itself.  0: nobody has
    presence."""

    room_idle_s: float = 60
    """A room without connections stays in memory this long: reloads of a page are cheap."""
    memory_return_s: float = 30
    """How long after a room has left memory garbage is collected and the heap trimmed, once for all that left
    meanwhile; 0: never. Without it a server that opens and closes rooms all day grows all day."""
    session_flush_s: float = 5
    """How often vector clocks and acknowledged sequences of live sessions are written to their rows, at
    most."""
    session_touch_s: float = 60
    """How often `last_seen_at` of all open sessions of this process is written, in one statement.  A
    session whose last touch is several times older than this belongs to a process that is gone."""
    projection_interval_s: float = 1
    """Shortest time between two runs that bring a live room's `Operation` and `SceneObject` rows up to
    date."""

    open_messages: int = 5000
    """Newest messages of a live room that stay open: they can be undone, and what arrives late still finds its
    place among them.  Older ones are folded away as soon as they are also older than the next setting.  An open
    message costs about 1 KiB of memory and 10 us of every recovery."""
    open_minutes: float = 30
    """Age up to which messages stay open, however many there are, up to the next setting.  0: age does not
    matter."""
    open_messages_max: int = 20_000
    """Open messages of one room, whatever their age.  Bounds what a native client is sent when it joins (5 MB), the
    room's memory (20 MB) and its recovery (0.2 s).  It is what 11 messages a second make in `open_minutes`; undo in a
    room that gets a hundred a second reaches three minutes back."""
    open_bytes_max: int = 33_554_432
    """Bytes of the operations of those messages, as msgpack: a robot that sends point clouds makes few messages and
    large ones.  In memory they take three to five times as much, and who joins natively is sent them all."""
    fold_messages: int = 500
    """Messages worth a cut.  Folding takes about 10 us a message, in one step of the event loop."""
    fold_messages_max: int = 1000
    """Messages that one cut folds away, at most."""
    snapshot_messages: int = 1000
    """A live room is written as a snapshot when the next recovery would be spared so many messages; a tenth of
    it suffices when it leaves memory.  Large documents wait until as much as a quarter of their nodes is
    spared."""
    snapshot_bytes: int = 16_777_216
    """The same when the next recovery would be spared messages of so many bytes, or a quarter of what the document
    takes if that is more."""
    damage_recheck_s: float = 10
    """How often a damaged document that people look at is read again: how late at most it is noticed that an
    operator has repaired it."""
    snapshot_interval_s: float = 1
    """Shortest time between two rounds of cuts and snapshots."""

    shutdown_notice_s: float = 0
    """How long a server that was told to stop goes on as before while `/readyz` answers 503: as long as the load
    balancer takes to notice."""
    shutdown_timeout_s: float = 8
    """How long a shutdown waits for the journal before it closes the sockets of messages that are not
    acknowledged, and then for the rows of sessions and projections; for these no longer than for a socket when the
    journal has not answered."""

    metrics_token: str = ""
    """Who scrapes `/metrics` sends it: `Authorization: Bearer …`.  Without one the page is there for staff only:
    behind a proxy on the same machine, everybody comes from the loopback address."""
    ready_stuck_s: float = 10
    """Messages that wait this long, while none is written, make the process not ready; not where PostgreSQL says that
    others' locks are in the way, which another process would meet as well."""
    ready_timeout_s: float = 2
    """How long the database may take to answer `/readyz`."""

    gc_threshold_objects: int = 50_000
    """First threshold of Python's garbage collector, set at start-up after everything loaded was frozen; 0
    leaves it alone. At Python's 700 the collector took 11 to 15 % of a busy server: messages are made and
    dropped by the thousand, and hardly anything of ours is cyclic."""

    def __getattribute__(self, name: str) -> Any:
        default = super().__getattribute__(name)
        if name.startswith("_"):
            return default
        return getattr(django_settings, "VUER_RTC", {}).get(name.upper(), default)


settings = RoomSettings()


def check_settings(**_: Any) -> list[CheckMessage]:
    """Errors for unknown keys and limits, for values of the wrong type or below zero, and for a policy that cannot be
    imported.  Keys that begin with `JOURNAL_` are looked at in `journal.check`."""
    hints = get_type_hints(RoomSettings)
    found: list[CheckMessage] = []
    for key in getattr(django_settings, "VUER_RTC", {}):
        if not key.startswith(JOURNAL) and key.lower() not in hints:
            found.append(Error(f"VUER_RTC has an unknown key {key!r}.", id="vuer_rooms.E003"))
    for name, kind in hints.items():
        value = getattr(settings, name)
        if not _fits(value, kind):
            wanted = getattr(kind, "__name__", kind)
            text = f"VUER_RTC[{name.upper()!r}] is {value!r}; it must be {wanted}, and not negative."
            found.append(Error(text, id="vuer_rooms.E001"))
    if isinstance(settings.policy, str):
        try:
            import_string(settings.policy)
        except ImportError as error:
            text = f"VUER_RTC['POLICY'] cannot be imported: {error}."
            found.append(Error(text, id="vuer_rooms.E002"))
    if isinstance(settings.limits, dict):
        try:
            Limits().overridden(settings.limits)
        except ValueError as error:
            text = f"VUER_RTC['LIMITS'] cannot be, and is ignored as a whole: {error}."
            found.append(Error(text, id="vuer_rooms.E004"))
    return found


def _fits(value: Any, kind: Any) -> bool:
    if kind is str:
        return isinstance(value, str)
    if get_origin(kind) is dict:
        return isinstance(value, dict)
    allowed = (int, float) if kind is float else (int,)
    return isinstance(value, allowed) and not isinstance(value, bool) and value >= 0

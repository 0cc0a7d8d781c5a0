"""Settings of the durable side: `settings.VUER_RTC = {"JOURNAL_KEEP_MESSAGES": 5000, …}`.

Read on access, so that `override_settings` works; validated by Django's system checks (`journal.check`).  The
unit is in the name, the reason beside the default.
"""

from typing import Any

from django.conf import settings as django_settings

PREFIX = "JOURNAL_"
"""The dict is shared with the live side; every key of this app begins so."""


class JournalSettings:
    """Every setting with its default; `VUER_RTC` overrides it under `JOURNAL_` and the name in capitals."""

    durability: str = "full"
    """`full`: an acknowledged message survives a power cut, and the checks refuse a database that cannot
    promise it. `relaxed`: the site accepts the loss of the last moments, and says so to its clients."""

    keep_messages: int = 1000
    """Newest messages of a document that compaction leaves alone: how far time travel reaches, at
    least."""
    keep_days: float = 30
    """Age in days up to which compaction leaves messages alone; both rules must let a message go."""
    keep_snapshots: int = 2
    """Unlabelled snapshots kept per document: the newest, and one to fall back to.  With 1, nothing replaces a
    damaged snapshot of a compacted document."""

    archive: bool = False
    """Whether compaction keeps what it deletes, as files; `compact_journals --archive` does it for one run."""
    archive_storage: str = "journal-archive"
    """Alias in Django's STORAGES under which those files go."""

    batch_bytes_max: int = 12_582_912
    """Encoded bytes of one batch.  MongoDB holds 16 MiB per document."""
    batch_compress_bytes_min: int = 1024
    """Payloads from here on are compressed; smaller ones would gain nothing."""
    snapshot_bytes_max: int = 15_728_640
    """Compressed bytes of one snapshot.  MongoDB holds 16 MiB per document; SQLite and PostgreSQL take up to
    1 GB."""
    snapshot_compress_level: int = 3
    """Zstandard level of snapshots: 1 is fastest, 19 smallest."""

    origin_messages_max: int = 50_000
    """Messages above its cut in the origin of time travel.  Where more would be, it is not written, and states
    between there and the next snapshot are not told."""

    delete_messages_max: int = 5000
    """Messages that one transaction of a truncation deletes, at most: fewer where that takes long (`journal.pace`), for
    live writers wait behind it."""
    lease_s: float = 300
    """How long a compaction that died keeps others out of its document; a living one renews its lease."""
    cut_attempts_max: int = 50
    """Tries to journal a cut beside live writers before the command gives up on the document for this
    time."""

    author_patience_s: float = 10
    """How long the site's own code tries to write beside others who are always first, or to a database that does not
    answer.  A page waits for it."""

    history_nodes_max: int = 200
    """Nodes that a difference, or what one message did, names; it says how many there are."""
    history_properties_max: int = 50
    """Properties named of each."""
    history_touches_max: int = 3
    """Newest messages named for each of these."""
    history_steps_max: int = 50
    """Newest changes of one node that are told."""

    projection_rows_max: int = 100
    """Rows of one statement and of one transaction of a projection: commits of rooms wait for that."""
    admin_messages_max: int = 100
    """Messages decoded on one page of the admin."""
    admin_replay_messages_max: int = 25_000
    """Messages that a page of the admin replays, from the nearest state that a row holds, or four times as many
    operations: beyond, it names the command that does.  A second, about; more than a busy room holds open behind its
    newest snapshot."""
    admin_nodes_max: int = 300
    """Nodes of a past state on one page of the admin."""
    admin_properties_max: int = 12
    """Properties shown of each of these."""
    admin_value_chars_max: int = 2000
    """Characters of one value shown on a page of the admin."""

    def __getattribute__(self, name: str) -> Any:
        default = super().__getattribute__(name)
        if name.startswith("_"):
            return default
        return getattr(django_settings, "VUER_RTC", {}).get(PREFIX + name.upper(), default)


settings = JournalSettings()

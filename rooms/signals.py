"""Django signals for the site's own code: what has happened in the rooms of this process, after it happened.

Receivers are called in a worker thread, one after another in the order of what they are told, never on the event loop;
they may query the database, and edit (`rooms.edit`).  One that raises is logged and harms nothing.  A process that is
killed tells nothing more: what matters must be read from the journal.  A batch is told of in the process that wrote it.

    @receiver(batch_committed)
    def on_batch(sender, document_id, entries, **kwargs): ...
"""

from django.dispatch import Signal

document_opened = Signal()
"""A document came into this process's memory.  Sender: `Document`.  `document_id`; `head_seq`: sequence of its newest
message."""

batch_committed = Signal()
"""A batch is on disk.  Sender: `Document`.  `document_id`, `first_seq`, `last_seq`; `entries`: the messages in order
(`journal.entry.Entry`: `message`, with its `server_seq`, `user`, `session`, `received_at`), not to be changed."""

session_joined = Signal()
"""A client is connected.  Sender: `Session`.  `document_id`, `session_id`, `client`; `user`: primary key of its
account, as text; None: anonymous."""

session_left = Signal()
"""It is connected no more.  The same; `code`: the close code."""

__all__ = ["batch_committed", "document_opened", "session_joined", "session_left"]

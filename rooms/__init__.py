"""Live rooms: who is connected, what they may do, and how their messages reach the journal and each other.

For the site's own code: `rooms.edit`, `read`, `undo`, `restore` and the others of `rooms.site`; `rooms.kick`, `reset`,
`rights_changed`; `rooms.tokens`; `rooms.signals`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rooms.access import rights_changed
    from rooms.moderation import kick, reset
    from rooms.site import (
        Authored,
        Editor,
        EditRefused,
        Scene,
        aedit,
        aread,
        aredo,
        arestore,
        aundo,
        edit,
        read,
        redo,
        restore,
        undo,
    )

__all__ = [
    "Authored",
    "EditRefused",
    "Editor",
    "Scene",
    "aedit",
    "aread",
    "aredo",
    "arestore",
    "aundo",
    "edit",
    "kick",
    "read",
    "redo",
    "reset",
    "restore",
    "rights_changed",
    "undo",
]

_MODULES = {"kick": "rooms.moderation", "reset": "rooms.moderation", "rights_changed": "rooms.access"}
"""Where those are that are not in `rooms.site`."""


def __getattr__(name: str) -> Any:
    """Looked up when they are used: models cannot be imported before Django has loaded the apps."""
    if name in __all__:
        return getattr(import_module(_MODULES.get(name, "rooms.site")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Live rooms: who is connected, what they may do, and how their messages reach the journal and each other.

For the site's own code: `rooms.edit`, `read`, `undo`, `restore` and the others of `rooms.site`; `rooms.signals`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    "read",
    "redo",
    "restore",
    "undo",
]


def __getattr__(name: str) -> Any:
    """Looked up when they are used: models cannot be imported before Django has loaded the apps."""
    if name in __all__:
        from rooms import site

        return getattr(site, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

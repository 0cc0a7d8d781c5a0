"""The Python client: a store that merges, a connection that survives, a scene that reads well.

Names are loaded when they are first asked for: without `RoomClient` nothing of asyncio or websockets is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .action import *  # noqa: F403
    from .answer import *  # noqa: F403
    from .apply import *  # noqa: F403
    from .clock import *  # noqa: F403
    from .dtype import *  # noqa: F403
    from .error import *  # noqa: F403
    from .graph_store import *  # noqa: F403
    from .message import *  # noqa: F403
    from .node import *  # noqa: F403
    from .outbox import *  # noqa: F403
    from .presence import *  # noqa: F403
    from .resolver import *  # noqa: F403
    from .room import *  # noqa: F403
    from .scene import *  # noqa: F403
    from .wire import *  # noqa: F403

NAMES = {
    "answer": "Refusal Status Welcome",
    "apply": (
        "applyMessage applyMessageMut applyMessages applyOperation createEmptyGraph "
        "apply_message apply_message_mut apply_messages apply_operation create_empty_graph"
    ),
    "clock": "VectorClock VectorClockManager",
    "dtype": (
        "DType ValueWithMeta multiplyQuaternions hexToRgb rgbToHex multiply_quaternions hex_to_rgb rgb_to_hex"
    ),
    "error": "CommitRefused InvalidMessage RoomClosed RoomError",
    "graph_store": (
        "ClientState EditBuffer GraphStore JournalEntry Snapshot StaleStateError cancelEdits commitEdits compact "
        "createGraph createInitialState getPendingCount getUnackedMessages hasPendingMessages hydrateTextSnapshot "
        "initFromServer isAdditiveOp mergeValues onEdit onRemoteMessage onServerAck rebuildGraph redo undo "
        "cancel_edits commit_edits create_graph create_initial_state get_pending_count get_unacked_messages "
        "has_pending_messages hydrate_text_snapshot init_from_server is_additive_op merge_values on_edit "
        "on_remote_message on_server_ack rebuild_graph"
    ),
    "message": "CRDTMessage OpMeta Operation",
    "node": "CRDTEnvelope SceneGraph SceneNode",
    "outbox": "Outbox OutboxError",
    "presence": "Presence Present",
    "resolver": "ConflictResolver parseOtype parse_otype",
    "room": "Backoff RoomClient",
    "scene": "Node Scene Text",
    "wire": "WireMessage deserialize msg_to_wire serialize wire_to_msg",
}
"""By module, the names it gives this package."""

_MODULES = {name: module for module, names in NAMES.items() for name in names.split()}

# A type checker goes by the imports above: from a list that it cannot read it takes no name, from a function any.
if not TYPE_CHECKING:
    __all__ = sorted(_MODULES)

    def __getattr__(name: str) -> Any:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})

"""Real-time collaboration on 3D scene graphs: merge core, wire protocol and Python client.

The client's names are here too, loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import *  # noqa: F403


if not TYPE_CHECKING:  # it would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if not name.startswith("_"):
            client = import_module(".client", __name__)
            if name in client.__all__:
                value = globals()[name] = getattr(client, name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module(".client", __name__).__all__})

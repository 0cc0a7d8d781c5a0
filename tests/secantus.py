"""`python -m tests.secantus …`: the server SecantusDB (MongoDB's wire protocol), with two of its faults mended.

MongoDB merges a nested object of `$addFields` and `$set` into what is there, and reads one of `$project` as the
fields to show; SecantusDB replaces by it and takes it literally.  Dotted paths mean the same, and there it agrees.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from secantus import aggregate
from secantus.cli import main

Stage = Callable[..., Any]


def flattened(specification: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The same with `{"a.b": 1}` in place of `{"a": {"b": 1}}`; expressions stay."""
    flat: dict[str, Any] = {}
    for name, value in specification.items():
        if isinstance(value, Mapping) and value and not any(key.startswith("$") for key in value):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def with_flat_paths(stage: Stage) -> Stage:
    @functools.wraps(stage)
    def run(specification: Any, *arguments: Any, **keywords: Any) -> Any:
        is_object = isinstance(specification, Mapping)
        return stage(flattened(specification) if is_object else specification, *arguments, **keywords)

    return run


if __name__ == "__main__":
    for name in ("$addFields", "$set", "$project"):
        aggregate._STAGES[name] = with_flat_paths(aggregate._STAGES[name])
    sys.exit(main())

"""Another process that takes a document over while ours, which is at work on it, sleeps longer than its lease."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from journal.models import Document


def taken_over(document: Document, work: Callable[[], Any]) -> Any:
    """What the other one's work returns; it has given the lease back when ours wakes."""
    Document.objects.filter(pk=document.pk).update(lease_until="2000-01-01T00:00:00Z")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("journal.lease.process_name", lambda: "elsewhere/1/0")
        return work()


def at(patch: pytest.MonkeyPatch, module: ModuleType, point: str, work: Callable[[], Any]) -> None:
    """The work is done when the module first comes to the point."""
    done: list[str] = []

    def reach(name: str) -> None:
        if name == point and not done:
            done.append(name)
            work()

    patch.setattr(module, "reach", reach)

"""Operations on a scene graph without a store: each comes last.

For merging what arrives in any order there is `GraphStore`; these are for building and looking at a graph by hand.
"""

import time
import warnings
from typing import Any

from vuer_rtc.crdt.canonical import InvalidMessage, canonical_message

from .message import CRDTMessage, Operation, OpMeta, op_fields
from .node import SceneGraph
from .optimistic import apply_op, draft_of, keep_draft
from .text_draft import is_positional


def createEmptyGraph() -> SceneGraph:
    """A graph without nodes."""
    return SceneGraph()


def applyOperation(graph: SceneGraph, op: Operation, meta: OpMeta) -> None:
    """Change the graph in place; what is no operation is ignored, with a warning.

    A text operation by position is applied, and filled in with what has to travel.
    """
    try:
        if is_positional(op):
            _edit_text(graph, op, meta)
            return
        envelope = {"id": "op", "client": meta.client or "nobody", "lt": 0, "ts": meta.ts, "ops": [op]}
        message = canonical_message({**envelope, "clock": {envelope["client"]: 1}})
    except InvalidMessage as refusal:
        warnings.warn(f"an operation is ignored: {refusal}", stacklevel=2)
        return
    apply_op(graph, message.ops[0], meta)


def _edit_text(graph: SceneGraph, op: dict[str, Any], meta: OpMeta) -> None:
    node = graph.nodes.get(op.get("key", ""))
    path = op.get("path")
    if node is None or not isinstance(path, str):
        return
    draft = draft_of(node, path)
    if draft is None:
        return
    ot = str(op.get("ot") or op.get("otype"))
    made = draft.edit({**op, "ot": ot, "path": path}, meta.client, 0, time.time())
    keep_draft(node, path, draft)
    if made is not None:
        op.update(
            (name, value) for name, value in op_fields(made).items() if name not in ("ot", "key", "path")
        )


def applyMessageMut(graph: SceneGraph, msg: CRDTMessage) -> None:
    """Change the graph in place by every operation of a commit."""
    meta = OpMeta(msg.client, msg.clock, msg.lt, msg.ts)
    for op in msg.ops:
        applyOperation(graph, op, meta)


def applyMessage(graph: SceneGraph, msg: CRDTMessage) -> SceneGraph:
    """A new graph with a commit applied; the argument is not changed."""
    return applyMessages(graph, [msg])


def applyMessages(graph: SceneGraph, messages: list[CRDTMessage]) -> SceneGraph:
    """A new graph with commits applied in this order; the argument is not changed."""
    changed = graph.deepCopy()
    for message in messages:
        applyMessageMut(changed, message)
    return changed


apply_operation = applyOperation
apply_message = applyMessage
apply_message_mut = applyMessageMut
apply_messages = applyMessages
create_empty_graph = createEmptyGraph

__all__ = [
    "applyMessage",
    "applyMessageMut",
    "applyMessages",
    "applyOperation",
    "apply_message",
    "apply_message_mut",
    "apply_messages",
    "apply_operation",
    "createEmptyGraph",
    "create_empty_graph",
]

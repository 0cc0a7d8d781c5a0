"""Forty small programs against the published API, run by whichever `vuer_rtc` is on the path.

As a script it prints one JSON map: by program its outcome, or the name of what it raised.
"""

import json
import warnings

import vuer_rtc
from vuer_rtc import (
    ConflictResolver,
    CRDTMessage,
    DType,
    GraphStore,
    OpMeta,
    SceneGraph,
    SceneNode,
    Snapshot,
    ValueWithMeta,
    VectorClockManager,
    applyMessage,
    applyMessageMut,
    applyMessages,
    applyOperation,
    cancelEdits,
    commitEdits,
    compact,
    createEmptyGraph,
    createGraph,
    createInitialState,
    deserialize,
    hexToRgb,
    hydrateTextSnapshot,
    msg_to_wire,
    multiplyQuaternions,
    onEdit,
    onRemoteMessage,
    onServerAck,
    parseOtype,
    rebuildGraph,
    redo,
    rgbToHex,
    serialize,
    undo,
    wire_to_msg,
)
from vuer_rtc.client.graph_store import (
    getPendingCount,
    getUnackedMessages,
    hasPendingMessages,
    initFromServer,
)


def op(ot, path="", value=None, key="n", **extra):
    return {"ot": ot, "key": key, "path": path, "value": value, **extra}


def insert(parent, key, **value):
    return op("node.insert", "children", {"key": key, **value}, key=parent)


def begun(client="alice", **values):
    """A store with a root `scene` and a node `n` in it."""
    store = createGraph(client)
    store.edit(insert("", "scene", tag="Scene"))
    store.commit()
    store.edit(insert("scene", "n", tag="Mesh", **values))
    store.commit()
    return store


def copy_of(store, client):
    other = createGraph(client)
    for entry in store.getState().journal:
        other.receive(entry.msg)
    return other


def read(store, path, key="n"):
    return store.getState().graph.nodes[key].getProperty(path)


def edited(*ops, **values):
    """What commits of one operation each, one after the other, make of `n`."""
    store = begun(**values)
    for each in ops:
        store.edit(each)
        store.commit()
    return {
        path: value for path, value in store.getState().graph.nodes["n"].properties.items() if path[0] != "_"
    }


def numbers():
    return edited(
        op("number.add", "x", 5),
        op("number.multiply", "x", 2),
        op("number.min", "x", 20),
        op("number.max", "x", 21),
        op("number.add", "unset", 3),
        x=10,
    )


def vectors():
    return edited(
        op("vector3.add", "v", [1, 1, 1]),
        op("vector3.multiply", "v", [2, 2, 2]),
        op("euler.add", "e", [0, 1, 0]),
        op("quaternion.multiply", "q", [0, 0, 1, 0]),
        v=[1, 2, 3],
        q=[0, 0, 0, 1],
    )


def rotations():
    turned = edited(
        op("vector3.applyQuaternion", "v", [0, 0, 1, 0]),
        op("vector3.applyEuler", "w", [0, 0, 0]),
        v=[1, 0, 0],
        w=[1, 2, 3],
    )
    return {path: [round(number, 9) + 0.0 for number in value] for path, value in turned.items()}


def strings():
    return edited(
        op("string.concat", "s", "b", separator="-"),
        op("string.concat", "new", "x"),
        op("string.set", "t", "set"),
        s="a",
    )


def booleans():
    return edited(
        op("boolean.or", "a", True),
        op("boolean.and", "b", False),
        op("boolean.set", "c", True),
        a=False,
        b=True,
    )


def colours():
    return edited(op("color.set", "c", "#ff0000"), op("color.blend", "d", "#204060"), d="#000000")


def arrays():
    return edited(
        op("array.push", "a", 4),
        op("array.remove", "a", 2),
        op("array.union", "a", [4, 5]),
        op("array.set", "b", [1]),
        a=[1, 2, 3, 2],
    )


def objects():
    return edited(
        op("object.merge", "o", {"b": 2}),
        op("object.set", "p", {"c": 3}),
        op("object.merge", ".", {"z": 1}),
        o={"a": 1},
    )


def tree():
    store = begun()
    for each in (insert("scene", "p"), insert("scene", "q"), insert("p", "c")):
        store.edit(each)
        store.commit()
    store.edit(op("node.move", "children", {"nodeKey": "c", "newParent": "q"}, key="p"))
    store.commit()
    store.edit(op("node.remove", "children", "p", key="scene"))
    store.commit()
    graph = store.getState().graph
    removed = graph.nodes["p"]._crdt.deletedAt is not None
    return [
        graph.rootKey,
        graph.nodes["scene"].children,
        graph.nodes["q"].children,
        graph.nodes["p"].children,
        removed,
    ]


def node_fields():
    node = begun(name="N", position=[1, 2, 3]).getState().graph.nodes["n"]
    return [
        node.key,
        node.tag,
        node.name,
        node.children,
        node.properties,
        node.getProperty("no", "default"),
        node._crdt.lamportTime,
    ]


def text_typing():
    return edited(
        op("text.init", "t", ""),
        op("text.insert", "t", [None, "Helo"], position=0),
        op("text.insert", "t", [None, "l"], position=2),
        op("text.delete", "t", position=0, length=1),
        op("text.replace", "t", [None, "J"], position=0, length=1),
    )["t"]


def text_for_two():
    alice = begun()
    alice.edit(op("text.insert", "t", [None, "abc"], position=0))
    alice.commit()
    bob = copy_of(alice, "bob")
    alice.edit(op("text.insert", "t", [None, "X"], position=1))
    bob.edit(op("text.insert", "t", [None, "Y"], position=3))
    x, y = alice.commit(), bob.commit()
    alice.receive(y)
    bob.receive(x)
    return [read(alice, "t"), read(bob, "t")]


def text_wire_form():
    store = begun()
    store.edit(op("text.insert", "t", [None, "abc"], position=0))
    sent = store.commit().ops[0]
    return [sent["ot"], sent["id"], sent["value"], sent["seq"]]


def empty_state():
    state = createGraph("alice").getState()
    return [
        state.graph.nodes,
        state.graph.rootKey,
        state.journal,
        state.edits.ops,
        state.lt,
        state.vectorClock,
        state.client,
        state.snapshot.lt,
        state.snapshot.journalIndex,
    ]


def commit_shape():
    sent = []
    store = createGraph("alice", on_send=sent.append)
    store.edit(op("number.set", "x", 1))
    message = store.commit("described")
    return [
        message is sent[0],
        message.id,
        message.client,
        message.clock,
        message.lt,
        message.ops,
        type(message.ts).__name__,
    ]


def commit_of_nothing():
    return createGraph("alice").commit()


def buffer_merges_additions():
    store = begun(x=1, v=[0, 0, 0])
    for each in (
        op("number.add", "x", 2),
        op("number.add", "x", 3),
        op("vector3.add", "v", [1, 0, 0]),
        op("vector3.add", "v", [0, 1, 0]),
    ):
        store.edit(each)
    return [[each["value"] for each in store.getState().edits.ops], read(store, "x"), read(store, "v")]


def edits_are_seen_at_once_and_cancelled():
    store = begun(x=1)
    store.edit(op("number.set", "x", 2))
    seen = read(store, "x")
    store.cancel()
    return [seen, read(store, "x"), store.getState().edits.ops]


def ack_and_retry():
    store = begun()
    before = [message.id for message in getUnackedMessages(store.getState())]
    store.ack("alice:1")
    return [
        before,
        getPendingCount(store.getState()),
        hasPendingMessages(store.getState()),
        [entry.ack for entry in store.getState().journal],
    ]


def duplicates_are_ignored():
    alice = begun(x=1)
    bob = copy_of(alice, "bob")
    alice.edit(op("number.add", "x", 1))
    message = alice.commit()
    bob.receive(message)
    bob.receive(message)
    return [read(bob, "x"), len(bob.getState().journal)]


def readme_counter_of_two():
    alice = begun(health=100)
    bob = copy_of(alice, "bob")
    alice.edit(op("number.add", "health", -25))
    bob.edit(op("number.add", "health", -10))
    a, b = alice.commit(), bob.commit()
    alice.receive(b)
    bob.receive(a)
    return [read(alice, "health"), read(bob, "health")]


def later_set_wins():
    alice = begun(x=0)
    bob = copy_of(alice, "bob")
    alice.edit(op("number.set", "x", 1))
    bob.edit(op("number.set", "x", 2))
    a, b = alice.commit(), bob.commit()
    alice.receive(b)
    bob.receive(a)
    return [read(alice, "x"), read(bob, "x")]


def clocks():
    alice = begun()
    bob = copy_of(alice, "bob")
    bob.edit(op("number.set", "x", 2))
    message = bob.commit()
    alice.receive(message)
    return [message.clock, message.lt, alice.getState().vectorClock, alice.getState().lt]


def undo_and_redo():
    store = begun(x=0)
    store.edit(op("number.set", "x", 10))
    store.commit()
    undone = store.undo()
    at_undo = read(store, "x")
    redone = store.redo()
    return [
        at_undo,
        read(store, "x"),
        undone.ops[0]["ot"],
        undone.ops[0]["targetMsgId"],
        redone.ops[0]["ot"],
        redone.ops[0]["key"],
    ]


def undo_of_nothing():
    store = createGraph("alice")
    return [store.undo(), store.redo()]


def undo_skips_others():
    alice = begun(x=0)
    bob = copy_of(alice, "bob")
    bob.edit(op("number.set", "x", 5))
    alice.receive(bob.commit())
    alice.undo()
    return ["n" in bob.getState().graph.nodes, "n" in alice.getState().graph.nodes]


def undo_reaches_the_peer():
    alice = begun(x=0)
    alice.edit(op("number.set", "x", 5))
    alice.commit()
    bob = copy_of(alice, "bob")
    bob.receive(alice.undo())
    return [read(bob, "x"), [entry.deletedAt is not None for entry in bob.getState().journal]]


def compaction():
    store = begun(x=1)
    store.ack("alice:1")
    store.ack("alice:2")
    store.compact()
    state = store.getState()
    return [
        state.journal,
        state.snapshot.journalIndex,
        state.snapshot.graph.nodes["n"].properties,
        read(store, "x"),
    ]


def callbacks():
    seen = []
    store = createGraph(
        "alice",
        on_send=lambda m: seen.append("send"),
        on_state_change=lambda s: seen.append("state"),
        on_message_sent=lambda m: seen.append("sent"),
    )
    stop = store.subscribe(lambda: seen.append("listener"))
    store.edit(op("number.set", "x", 1))
    store.commit()
    stop()
    store.cancel()
    return seen


def join_from_server():
    alice = begun(x=1)
    journal = [entry.msg for entry in alice.getState().journal]
    store = GraphStore.fromServer(
        "bob", Snapshot(graph=createEmptyGraph(), vectorClock={}, lt=0, journalIndex=0), journal
    )
    return [read(store, "x"), store.getState().lt, [entry.ack for entry in store.getState().journal]]


def join_from_snapshot():
    node = SceneNode(key="n", tag="Mesh", name="N", properties={"x": 1})
    graph = SceneGraph(nodes={"n": node}, rootKey="n")
    store = createGraph("bob", initial_snapshot=Snapshot(graph, {"alice": 2}, 7, 2))
    store.edit(op("number.add", "x", 1))
    message = store.commit()
    return [read(store, "x"), message.id, message.clock, store.getState().snapshot.lt]


def join_with_texts():
    items = [
        {"id": "alice:0", "content": "ab", "isDeleted": False, "anchor": None, "seq": 1, "ts": 1.0},
        {"id": "alice:2", "content": "c", "isDeleted": True, "anchor": "alice:1", "seq": 1, "ts": 1.0},
    ]
    rope = {"_tree": {"root": {"type": "leaf", "items": items}}, "agentId": "alice", "clock": 3, "maxSeq": 1}
    graph = SceneGraph(nodes={"n": SceneNode(key="n", tag="", name="")}, rootKey="n")
    store = createGraph("bob", initial_snapshot=Snapshot(graph, {"alice": 1}, 1, 1, {"n": {"t": rope}}))
    before = read(store, "t")
    store.edit(op("text.insert", "t", [None, "!"], position=2))
    sent = store.commit().ops[0]
    return [before, read(store, "t"), sent["id"], sent["value"]]


def hydration():
    rope = {"_textRope": True, "raw": ["alice", 2, 1, [["alice:0", "hi", None, 1, 1.0]]]}
    graph = SceneGraph(nodes={"n": SceneNode(key="n", tag="", name="")}, rootKey="n")
    hydrated = hydrateTextSnapshot(Snapshot(graph, {}, 0, 0, {"n": {"t": rope}, "gone": {"t": rope}}))
    return [hydrated.graph.nodes["n"].getProperty("t"), graph.nodes["n"].getProperty("t")]


def functions():
    state = createInitialState("alice")
    for each in (insert("", "n", x=1), op("number.add", "x", 1)):
        state = onEdit(state, each)
        state, message = commitEdits(state)
    state = onServerAck(state, message.id)
    state = cancelEdits(onEdit(state, op("number.add", "x", 5)))
    state, _ = undo(state)
    after_undo = state.graph.nodes["n"].getProperty("x")
    state, _ = redo(state)
    state = onRemoteMessage(
        state, CRDTMessage("bob:9", "bob", {"bob": 1}, 9, 1.0, [op("number.add", "x", 10)])
    )
    return [
        after_undo,
        state.graph.nodes["n"].getProperty("x"),
        state.lt,
        compact(state).snapshot.journalIndex > 0,
    ]


def rebuilding():
    state = begun(x=1).getState()
    graph = rebuildGraph(state.snapshot, state.journal, [op("number.add", "x", 4)])
    return graph.nodes["n"].getProperty("x")


def joining_function():
    journal = [entry.msg for entry in begun(x=3).getState().journal]
    state = initFromServer("bob", Snapshot(createEmptyGraph(), {}), journal)
    return [state.graph.nodes["n"].getProperty("x"), state.lt]


def graph_functions():
    first = CRDTMessage("a:1", "a", {"a": 1}, 1, 1.0, [insert("", "s"), insert("s", "n", x=1)])
    second = CRDTMessage("a:2", "a", {"a": 2}, 2, 2.0, [op("number.add", "x", 1)])
    graph = createEmptyGraph()
    one = applyMessage(graph, first)
    two = applyMessages(graph, [first, second])
    applyMessageMut(one, second)
    applyOperation(one, op("number.set", "y", 3), OpMeta(client="a", clock={}, lt=3, ts=3.0))
    return [
        len(graph.nodes),
        two.nodes["n"].properties,
        one.nodes["n"].properties,
        one.nodes["s"].children,
        one.rootKey,
    ]


def stamps_of_sets():
    graph = createEmptyGraph()
    applyMessageMut(graph, CRDTMessage("a:1", "a", {"a": 1}, 1, 1.0, [insert("", "n")]))
    for lt, client, value in ((5, "a", 1), (3, "b", 2), (5, "b", 3)):
        applyOperation(graph, op("number.set", "x", value), OpMeta(client=client, clock={}, lt=lt, ts=1.0))
    return [graph.nodes["n"].getProperty("x"), graph.nodes["n"]._crdt.lww["x"]]


def wire():
    message = CRDTMessage("a:1", "a", {"a": 1}, 1, 1.5, [op("number.set", "x", 1)])
    back = wire_to_msg(deserialize(serialize(msg_to_wire(message))))
    legacy = wire_to_msg(
        {"mtype": "crdt", "msg": {"id": "m", "sessionId": "s", "lamportTime": 4, "timestamp": 2.0}}
    )
    raw = deserialize(serialize({"mtype": "sync", "filter": b"\x00\x01", "count": 2}))
    return [
        back == message,
        message.toDict(),
        [legacy.client, legacy.lt, legacy.ts, legacy.clock, legacy.ops],
        raw["filter"] == b"\x00\x01",
    ]


def vector_clocks():
    clocks = VectorClockManager()
    return [
        clocks.create("a"),
        clocks.increment({"a": 1}, "a"),
        clocks.merge({"a": 1}, {"a": 2, "b": 1}),
        clocks.compare({"a": 2}, {"a": 1}),
        clocks.compare({"a": 1}, {"b": 1}),
        clocks.areConcurrent({"a": 1}, {"b": 1}),
        clocks.areConcurrent({"a": 1}, {}),
    ]


def resolver():
    values = [ValueWithMeta(3, 2, "b"), ValueWithMeta(1, 1, "a")]
    resolve = ConflictResolver()
    return [
        resolve.mergeProperty("number.add", values),
        resolve.mergeProperty("number", values),
        resolve.mergeProperty("immutable.set", values),
        resolve.mergeProperties(
            [
                {"properties": {"x": 1}, "ots": {"x": "number.add"}, "lt": 1, "client": "a"},
                {"properties": {"x": 2}, "ots": {"x": "number.add"}, "lt": 2, "client": "b"},
            ]
        ),
    ]


def data_types():
    lists = [ValueWithMeta([3, 4], 2), ValueWithMeta([1, 3], 1)]
    return [
        DType.array.append(lists),
        DType.array.union(lists),
        DType.string.concat([ValueWithMeta("b", 2), ValueWithMeta("a", 1)]),
        DType.color.blend([ValueWithMeta("#000000", 1), ValueWithMeta("#0000ff", 2)]),
        DType.boolean.or_([ValueWithMeta(False, 1)]),
        DType.object.lwwPerKey([ValueWithMeta({"a": 1, "b": 1}, 1), ValueWithMeta({"a": 2}, 2)]),
        DType.vector3.add([ValueWithMeta([1, 2, 3], 1)] * 2),
    ]


def small_things():
    return [
        parseOtype("vector3.add"),
        parseOtype("number"),
        hexToRgb("#10ff00"),
        hexToRgb("no"),
        rgbToHex(1, 2, 255),
        multiplyQuaternions((1, 0, 0, 0), (0, 1, 0, 0)),
        parseOtype("a.b.c"),
    ]


def graphs_are_copied():
    graph = begun(x=1).getState().graph
    shallow, deep = graph.copy(), graph.deepCopy()
    deep.nodes["n"].setProperty("x", 9)
    return [
        shallow.nodes["n"] is graph.nodes["n"],
        graph.nodes["n"].getProperty("x"),
        deep.nodes["n"].getProperty("x"),
    ]


# Where the outcomes differ on purpose: docs/client.md lists them.


def two_sets_before_one_commit():
    store = begun(x=0)
    sent = []
    store._on_send = sent.append
    store.edit(op("number.set", "x", 1))
    store.edit(op("number.set", "x", 2))
    seen = read(store, "x")
    return [seen, [each["value"] for each in store.commit().ops], read(store, "x")]


def set_then_add_before_one_commit():
    store = begun(x=10)
    store.edit(op("number.set", "x", 100))
    store.edit(op("number.add", "x", 5))
    return [read(store, "x"), read(copy_after_commit(store), "x")]


def pushes_before_one_commit():
    store = begun(a=[])
    store.edit(op("array.push", "a", "A"))
    store.edit(op("array.push", "a", "B"))
    return [read(store, "a"), read(copy_after_commit(store), "a")]


def inserts_before_one_commit():
    store = begun()
    store.edit(insert("n", "c1"))
    store.edit(insert("n", "c2"))
    store.commit()
    return copy_of(store, "bob").getState().graph.nodes["n"].children


def typing_before_one_commit():
    store = begun()
    store.edit(op("text.insert", "t", [None, "H"], position=0))
    store.edit(op("text.insert", "t", [None, "i"], position=1))
    return [read(store, "t"), read(copy_after_commit(store), "t")]


def copy_after_commit(store):
    store.commit()
    return copy_of(store, "bob")


def pending_edit_survives_a_message():
    alice = begun(x=0)
    bob = copy_of(alice, "bob")
    alice.edit(op("number.set", "x", 1))
    bob.receive(alice.commit())
    alice.edit(op("number.set", "x", 2))
    bob.edit(op("number.set", "y", 1))
    alice.receive(bob.commit())
    return read(alice, "x")


def cancel_keeps_what_others_did():
    alice = begun(x=0)
    bob = copy_of(alice, "bob")
    alice.edit(op("number.set", "x", 1))
    bob.edit(op("number.set", "y", 1))
    alice.receive(bob.commit())
    alice.cancel()
    return [read(alice, "x"), read(alice, "y")]


def pushes_of_two():
    alice = begun(a=[])
    bob = copy_of(alice, "bob")
    alice.edit(op("array.push", "a", "A"))
    bob.edit(op("array.push", "a", "B"))
    a, b = alice.commit(), bob.commit()
    alice.receive(b)
    bob.receive(a)
    return [read(alice, "a"), read(bob, "a")]


def undo_twice_redo_once():
    store = begun(x="none")
    for value in ("one", "two"):
        store.edit(op("string.set", "x", value))
        store.commit()
    store.undo()
    store.undo()
    store.redo()
    return read(store, "x")


def undo_before_its_target():
    alice = begun(x=0)
    bob = copy_of(alice, "bob")
    alice.edit(op("number.set", "x", 5))
    message = alice.commit()
    bob.receive(alice.undo())
    bob.receive(message)
    return read(bob, "x")


def undo_of_pending_edits_is_sent():
    sent = []
    store = createGraph("alice", on_send=lambda message: sent.append(message.ops[0]["ot"]))
    store.edit(insert("", "n"))
    store.undo()
    return sent


def compaction_keeps_the_unacknowledged():
    store = begun()
    store.ack("alice:2")
    store.compact()
    return [message.id for message in getUnackedMessages(store.getState())]


def duplicate_after_compaction():
    alice = begun(x=1)
    alice.edit(op("number.add", "x", 5))
    message = alice.commit()
    bob = copy_of(alice, "bob")
    bob.compact()
    bob.receive(message)
    return read(bob, "x")


def legacy_operations():
    store = begun(x=1)
    store.receive(
        CRDTMessage(
            "bob:9", "bob", {"bob": 1}, 9, 1.0, [{"otype": "number.set", "key": "n", "path": "x", "value": 2}]
        )
    )
    return read(store, "x")


def misfit_in_a_message():
    store = begun(s="text")
    store.receive(CRDTMessage("bob:9", "bob", {"bob": 1}, 9, 1.0, [op("number.add", "s", 1)]))
    return read(store, "s")


def name_is_a_property():
    store = begun(name="old")
    store.edit(op("string.set", "name", "new"))
    return store.getState().graph.nodes["n"].name


def reinsertion():
    store = begun(x=1)
    store.edit(op("node.remove", "children", "n", key="scene"))
    store.commit()
    store.edit(insert("scene", "n", x=2))
    store.commit()
    return [
        store.getState().graph.nodes["n"]._crdt.deletedAt is None,
        store.getState().graph.nodes["scene"].children,
    ]


def unknown_operations():
    store = begun()
    store.edit(op("number.power", "x", 2))
    return store.commit().ops[0]["ot"]


def own_echo():
    store = begun()
    store.receive(store.getState().journal[0].msg)
    return [entry.ack for entry in store.getState().journal]


def counter_of_a_joiner():
    store = GraphStore.fromServer("zoe", Snapshot(createEmptyGraph(), {"a": 2}), [])
    return store.getState().vectorClock


def a_set_loses_to_the_second_in_one_message():
    store = begun()
    store.receive(
        CRDTMessage("bob:9", "bob", {"bob": 1}, 9, 1.0, [op("number.set", "x", 1), op("number.set", "x", 2)])
    )
    return read(store, "x")


def resending_after_undo():
    store = begun()
    for message in ("alice:1", "alice:2"):
        store.ack(message)
    store.undo()
    return [message.id for message in getUnackedMessages(store.getState())]


PLUMBING = {"op", "insert", "begun", "copy_of", "read", "edited", "copy_after_commit", "main"}


def main():
    warnings.simplefilter("ignore")
    outcomes = {}
    for name, program in list(globals().items()):
        if callable(program) and getattr(program, "__module__", "") == "__main__" and name not in PLUMBING:
            try:
                outcomes[name] = program()
            except Exception as error:
                outcomes[name] = type(error).__name__
    print(json.dumps({"where": vuer_rtc.__file__, "outcomes": outcomes}))


if __name__ == "__main__":
    main()

"""Concurrent text histories made by published stores; and published stores that go on from a rope of ours.

Runs in a process of its own: the published package has our import name.  Each line of standard input is a command; each
answer is a line too.
"""

import json
import random
import sys

from vuer_rtc.client.graph_store import GraphStore, Snapshot
from vuer_rtc.operations.types import CRDTEnvelope, CRDTMessage, SceneGraph, SceneNode

NODE = {"ot": "node.insert", "key": "", "path": "children", "value": {"key": "doc", "tag": "Text"}}


def edit(store, randomness, replaces=1):
    """One random edit of the store's text, committed."""
    text = text_of(store)
    position = randomness.randint(0, len(text))
    length = randomness.randint(1, 4)
    value = "".join(randomness.choices("abc 𝄞", k=randomness.choice([1, 1, 1, 2, 4])))
    kind = randomness.choices(["text.insert", "text.delete", "text.replace"], [6, 3, replaces])[0]
    op = {"ot": kind, "key": "doc", "path": "body", "position": position}
    if kind != "text.insert" and position < len(text):
        op["length"] = min(length, len(text) - position)
    elif kind != "text.insert":
        op["ot"] = "text.insert"
    if op["ot"] != "text.delete":
        op["value"] = value
    store.edit(op)
    message = store.commit()
    rebuild(store)
    return message


def rebuild(store):
    """Make the store read its journal again: a live rope is off after a replace, and can hang in a later delete."""
    count = len(store.getState().journal)
    store.receive(CRDTMessage(id=f"nobody:{count}", client="nobody", clock={}, lt=0, ts=0, ops=[]))


def text_of(store):
    return store.getState().graph.nodes["doc"].getProperty("body") or ""


def is_next(message, clock):
    """Causal delivery: all that the author had seen is here, and nothing of the author is missing."""
    return all(count <= clock.get(c, 0) + (c == message.client) for c, count in message.clock.items())


def history(seed):
    """Messages of a few stores that edit one text at once, and the text they agree on."""
    randomness = random.Random(seed)
    origin = GraphStore("origin")
    origin.edit(NODE)
    origin.edit({"ot": "text.init", "key": "doc", "path": "body"})
    base = origin.commit()
    stores = [GraphStore(name) for name in ["alice", "bob", "carol", "dave"][: randomness.randint(2, 4)]]
    waiting = {store: [] for store in stores}
    for store in stores:
        store.receive(base)
    messages = []
    for _ in range(randomness.randint(3, 14)):
        store = randomness.choice(stores)
        messages.append(edit(store, randomness))
        for other in stores:
            if other is not store:
                waiting[other].append(messages[-1])
        for other in stores:
            deliver(other, waiting[other], randomness, randomness.choice([0, 0, 1, 3]))
    for store in stores:
        deliver(store, waiting[store], randomness, len(messages))
    texts = {text_of(store) for store in stores}
    return {"messages": [message.toDict() for message in messages], "texts": sorted(texts)}


def deliver(store, waiting, randomness, count):
    for _ in range(count):
        ready = [message for message in waiting if is_next(message, store.getState().vectorClock)]
        if ready:
            message = randomness.choice(ready)
            waiting.remove(message)
            store.receive(message)


def proceed(seed, rope, count):
    """What a store shows that hydrates `rope`, what it then does, and what it shows afterwards.

    Without `text.replace`: it hangs on a hydrated rope, which the store's copies share.
    """
    node = SceneNode(key="doc", tag="Text", name="", children=[], properties={}, _crdt=CRDTEnvelope())
    graph = SceneGraph(nodes={"doc": node}, rootKey="doc")
    store = GraphStore("erin", initial_snapshot=Snapshot(graph, {}, 0, 0, {"doc": {"body": rope}}))
    before = text_of(store)
    randomness = random.Random(seed)
    messages = [edit(store, randomness, replaces=0).toDict() for _ in range(count)]
    return {"before": before, "messages": messages, "after": text_of(store)}


def main():
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(globals()[command.pop("do")](**command)), flush=True)


if __name__ == "__main__":
    main()

"""Runs the published client: frames in hexadecimal on standard input, what it read on standard output."""

import json
import sys

from vuer_rtc.client.graph_store import GraphStore
from vuer_rtc.serdes import deserialize, wire_to_msg

store = GraphStore("reader")
for line in sys.stdin:
    wire = deserialize(bytes.fromhex(line))
    read = {"mtype": wire["mtype"]}
    if wire["mtype"] in ("broadcast", "crdt"):
        message = wire_to_msg(wire)
        if all(
            "ot" in op for op in message.ops
        ):  # it cannot receive legacy operations, only legacy envelopes
            store.receive(message)
        read["message"] = message.toDict()
    if wire["mtype"] == "ack":
        store.ack(wire["msgId"])
    print(json.dumps(read))
graph = store.getState().graph
print(json.dumps({key: node.properties for key, node in graph.nodes.items()}))

// What yjs writes for two values under one key of a map, for tests/test_yjs_frames.py: node record.mjs
import * as Y from "yjs";

const doc = new Y.Doc();
doc.clientID = 3_000_000_001;
doc.on("update", (update) => console.log("update", Buffer.from(update).toString("hex")));
const nodes = doc.getMap("nodes");
nodes.set("c7-é", { tag: "Mesh" });
nodes.set("c7-é", { at: 1234.56789, p: "p".repeat(130), position: [0.1, 0.2, -0.3] });
console.log("vector", Buffer.from(Y.encodeStateVector(new Y.Doc())).toString("hex"));

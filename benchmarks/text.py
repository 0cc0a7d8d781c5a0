"""What editing a text costs: `python -m benchmarks.text`.

Each figure is the best of a few runs in processor time, beside a plain loop of additions in the same process: a shared
machine makes both slower alike.
"""

import random
import time
from collections.abc import Callable

from vuer_rtc.crdt.message import Op
from vuer_rtc.crdt.text import Text
from vuer_rtc.crdt.text_id import parse_insert

TYPED = 260_000
LONG = 100_000
EDITS = 20_000
RUNS = 3


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def insert(text: Text, op: Op, client: str, order: object) -> None:
    """One insert as the fold makes it, validation included."""
    claim = parse_insert(op, client)
    assert claim is not None
    number, anchor, content = claim
    where = None if anchor is None else text.latest(anchor, before=order)
    assert anchor is None or where is not None
    text.place(client, number, content, where, op.seq, op.ts, order=order)


def text_insert(client: str, number: int, anchor: str | None, content: str, seq: int) -> Op:
    return Op(ot="text.insert", id=f"{client}:{number}", value=[anchor, content], seq=seq, ts=1.7e9 + seq)


def typed() -> tuple[float, Text]:
    """A text typed from start to end, one message for each character."""
    ops = [text_insert("a", n, f"a:{n - 1}" if n else None, "x", n + 1) for n in range(TYPED)]
    orders = [((n, "a", f"a:{n}"), 0) for n in range(TYPED)]
    text = Text()

    def type_all() -> None:
        for op, order in zip(ops, orders, strict=True):
            insert(text, op, "a", order)

    return seconds(type_all), text


def long_text() -> Text:
    text = Text()
    text.place("base", 0, "lorem ipsum " * (LONG // 12), None, 1, 1, order=((0, "", ""), 0))
    return text


def placed(text: Text, authors: int, randomness: random.Random) -> float:
    """Microseconds for an insert below a random character, as it comes from others: validated and placed."""
    seq = int(text.highest_seq())
    clients = [randomness.randrange(authors) for _ in range(EDITS)]
    numbers, ops = [0] * authors, []
    for edit, client in enumerate(clients):
        anchor = f"base:{randomness.randrange(LONG - 12)}"
        ops.append((f"u{client}", text_insert(f"u{client}", numbers[client], anchor, "z", seq + edit + 1)))
        numbers[client] += 1

    def place_all() -> None:
        for edit, (client, op) in enumerate(ops):
            insert(text, op, client, ((edit + 1, client, op.id), 0))

    return seconds(place_all) / EDITS * 1e6


def edited(text: Text, randomness: random.Random, deletes: float) -> float:
    """Microseconds for an edit at a random position, as a client makes it: ids found and applied."""
    positions = [randomness.random() for _ in range(EDITS)]
    is_delete = [randomness.random() < deletes for _ in range(EDITS)]

    def edit_all() -> None:
        for edit, (position, delete) in enumerate(zip(positions, is_delete, strict=True)):
            order = ((edit + 1, "me", ""), 0)
            at = int(position * text.length)
            if delete:
                text.delete(text.ranges_at(at, 1), order=order)
                continue
            anchor = text.anchor_at(at)
            where = None if anchor is None else text.latest(anchor, before=order)
            text.place("me", edit, "z", where, edit + 2, 1.7e9 + edit, order=order)

    return seconds(edit_all) / EDITS * 1e6


def show(name: str, figure: float, unit: str, goal: str = "") -> None:
    print(f"{name:<62} {figure:9.2f} {unit:<3} {goal}")


def main() -> None:
    show(
        "a plain loop of 10,000,000 additions, for comparison",
        seconds(lambda: sum(n for n in range(10**7))),
        "s",
    )
    times, texts = zip(*[typed() for _ in range(RUNS)], strict=True)
    show("260,000 characters typed, a message each", min(times), "s", "goal 3")
    text = texts[0]
    show("  its snapshot rows", min(seconds(text.encode) for _ in range(RUNS)) * 1e3, "ms")
    rows = text.encode()
    show("  restored", min(seconds(lambda: Text.decode(rows)) for _ in range(RUNS)) * 1e3, "ms")
    for authors in (1, 8):
        best = min(placed(long_text(), authors, random.Random(run)) for run in range(RUNS))
        show(f"insert at a random character of {LONG:,}, {authors} authors", best, "us", "goal 15")
    for deletes, name in ((0.0, "insert"), (0.3, "insert, 30 % delete,"), (1.0, "delete")):
        best = min(edited(long_text(), random.Random(run), deletes) for run in range(RUNS))
        show(f"{name} at a random position of {LONG:,}, ids looked up", best, "us", "goal 15")
    text = long_text()
    edited(text, random.Random(0), 0.3)

    def edit_and_read() -> None:
        text.place(
            "you", text.length, "z", None, text.highest_seq() + 1, 0, order=((10**6, "", ""), text.length)
        )
        text.visible()

    text.visible()
    best = min(seconds(edit_and_read) for _ in range(30))
    show(f"  visible text after one more edit ({LONG:,} characters)", best * 1e6, "us")
    show("  its snapshot rows", min(seconds(text.encode) for _ in range(RUNS)) * 1e3, "ms")


if __name__ == "__main__":
    main()

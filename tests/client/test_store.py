"""The store: what the sender sees is what peers will see, in any order of arrival."""

import random

import pytest

from .fuzz import Link, random_op, shown

CLIENTS = ["alice", "bob", "carol"]


@pytest.mark.parametrize("seed", range(150))
def test_random_stores_converge_and_show_what_they_will_send(seed: int) -> None:
    rng = random.Random(seed)
    link = Link(rng, CLIENTS)
    for _ in range(40):
        store = link.stores[rng.choice(CLIENTS)]
        for _ in range(rng.randint(1, 5)):
            store.edit(random_op(rng))
            if rng.random() < 0.3:
                shown(store.graph)
            if rng.random() < 0.15:
                link.deliver(store.client, 1)
        before = shown(store.graph)
        choice = rng.random()
        if choice < 0.75:
            store.commit()
            assert shown(store.graph) == before
        elif choice < 0.85:
            store.cancel()
        elif choice < 0.95:
            store.undo()
        else:
            store.redo()
        link.deliver(rng.choice(CLIENTS), 2)
    for store in link.stores.values():
        store.cancel()
    link.flush()
    graphs = [shown(store.graph) for store in link.stores.values()]
    assert graphs[0] == graphs[1] == graphs[2]
    digests = {store._store.replica.graph.digest() for store in link.stores.values()}
    assert len(digests) == 1

"""How much goes into one statement."""

from journal.chunk import KEPT_BYTES_MAX, chunks, kept_chunks


def test_statements_take_so_many_rows() -> None:
    assert [list(some) for some in chunks(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_large_rows_are_a_statement_each_that_is_always_the_same() -> None:
    """So what SQLite's driver keeps of a hundred statements is bounded."""
    small, large = "x", "x" * KEPT_BYTES_MAX
    rows = [small] * 3 + [large, small, small] + [small]
    assert [len(some) for some in kept_chunks(rows, 3, len)] == [3, 1, 1, 1, 1]

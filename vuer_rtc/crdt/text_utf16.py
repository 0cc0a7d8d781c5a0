"""Positions of clients that count UTF-16 units, as JavaScript does, where ours count code points (rule X7).

Both mappings take the visible text the position is in.  Only characters beyond U+FFFF count twice there.  A position
between the two halves of one is before it.
"""


def position_from_utf16(text: str, position: int) -> int:
    """The position in code points; clamped to the text."""
    if text.isascii():
        return min(max(position, 0), len(text))
    units = text.encode("utf-16-le", "surrogatepass")[: 2 * max(position, 0)]
    if units and 0xD8 <= units[-1] < 0xDC:
        units = units[:-2]
    return len(units.decode("utf-16-le", "surrogatepass"))


def position_to_utf16(text: str, position: int) -> int:
    """The position in UTF-16 units; clamped to the text."""
    if text.isascii():
        return min(max(position, 0), len(text))
    return len(text[: max(position, 0)].encode("utf-16-le", "surrogatepass")) // 2

"""What clients have named, on an operator's terminal."""

from unicodedata import category

OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal obeys instead of showing them: they move the cursor, end a line, turn text
round."""


def visible(line: str) -> str:
    """The same on one line, these characters as escapes: keys and names may have any of them, and what looks like a
    command's own line, or sets a terminal's clipboard, is not to come from a client."""
    if line.isprintable():
        return line
    return "".join(_escaped(one) if category(one) in OBEYED else one for one in line)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()

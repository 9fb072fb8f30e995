"""JSON that is shown to people: a terminal is to take nothing in it for an order.

Here: the escaping that RFC 8259 (section 7) allows and does not demand. Not here: what is put into JSON.
"""

from __future__ import annotations

_CONTROLS = (*range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Control characters beyond ASCII's own, which JSON escapes anyway, and those that turn the direction of writing."""

_ORDERS = {code: f"\\u{code:04x}" for code in _CONTROLS}


def harmless(document: str) -> str:
    """The same document, without characters that are orders."""
    return document.translate(_ORDERS)

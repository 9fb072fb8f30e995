"""JSON that is shown to people: a terminal is to take nothing in it for an order.

Here: the escaping that RFC 8259 (section 7) allows and does not demand. Not here: what is put into JSON.
"""

from __future__ import annotations

import re

_ORDERS = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters beyond ASCII's own, which JSON escapes anyway, and those that turn the direction of writing."""


def harmless(document: str) -> str:
    """The same document, without characters that are orders."""
    return _ORDERS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)

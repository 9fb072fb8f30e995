"""What becomes of a magic's value, seen in the bytecode of the cell that called it.

``%container run …`` as a statement shows its output while it comes; ``x = %container run …`` keeps it. IPython calls
the magic in the same way for both; the instruction after the call tells them apart (``dis``).
"""

from __future__ import annotations

import dis
import sys
from types import FrameType

_ENTRY_POINTS = ("run_line_magic", "run_cell_magic")
# The second and third hand the value of a cell's last line to the display hook: before and from Python 3.12.
_DROPPED = ("POP_TOP", "PRINT_EXPR", "CALL_INTRINSIC_1")


def keeps_value() -> bool:
    """Whether the code that called the running magic uses the magic's value."""
    frame = _calling_frame()
    if frame is None:
        return True
    last = frame.f_lasti
    following = next((each for each in dis.get_instructions(frame.f_code) if each.offset > last), None)
    return following is None or following.opname not in _DROPPED


def _calling_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name not in _ENTRY_POINTS:
        frame = frame.f_back
    return frame and frame.f_back

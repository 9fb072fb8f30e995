"""Programs that try to get out: each is sent to Python inside a container and prints what came of every attempt.

``python3 -`` reads them from its standard input, so they import nothing but the standard library. An attempt's outcome
is the name of the error that refused it, or ``done``.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.store import Store

DONE = "done"


def program(name: str) -> str:
    """The source of one program."""
    return Path(__file__).with_name(f"{name}.py").read_text()


def outcomes(store: Store, image: str, name: str, *flags: str, arguments: Iterable[str] = ()) -> dict[str, Any]:
    """Run a program in a new container with these flags; what it found, by attempt."""
    command = ("run", "--rm", "-i", *flags, image, "python3", "-", *arguments)
    return dict(json.loads(store.cli(*command, input=program(name), check=True).stdout))

"""Real Linux containers inside Jupyter: no Docker, no daemon, no root.

The package's own door holds the version and the IPython extension hooks and imports nothing else, so that
every process of a container starts without paying for what it does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__version__ = "0.1.0"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext kernel_sandbox``: the same as ``%load_ext magics``."""
    import_module("magics").load_ipython_extension(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext kernel_sandbox``."""
    import_module("magics").unload_ipython_extension(shell)

"""The one orchestrator: what Docker's verbs mean, on the store and the runtime.

``Engine`` is the door for front ends; everything else in this package serves it.
"""

from kernel_sandbox.engine.engine import Engine

__all__ = ["Engine"]

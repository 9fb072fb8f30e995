"""Images made from the machine itself, with no registry and no network.

A plan (`plan_python`, `plan_busybox`) decides what lies where; `write` makes the layer's archive of it. Naming, storing
and configuring the image is the engine's work.
"""

from kernel_sandbox.bootstrap.archive import write
from kernel_sandbox.bootstrap.busybox import static_binary
from kernel_sandbox.bootstrap.fingerprint import fingerprint
from kernel_sandbox.bootstrap.plan import BUSYBOX_REFERENCE, plan_busybox, plan_python, python_reference
from kernel_sandbox.bootstrap.rootfs import Rootfs

__all__ = [
    "BUSYBOX_REFERENCE",
    "Rootfs",
    "fingerprint",
    "plan_busybox",
    "plan_python",
    "python_reference",
    "static_binary",
    "write",
]

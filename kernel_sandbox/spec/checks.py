"""What can be refused of a container before anything is made: values that cannot be, or not together.

Not here: flags' text, limits (``limits``), what exists on the machine.
"""

from __future__ import annotations

from collections import Counter

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import capabilities, flags, sharing
from kernel_sandbox.spec.options import ContainerOptions, checked_hostname, checked_name
from kernel_sandbox.spec.units import is_number

_SCORES = 1000


def check(wanted: ContainerOptions) -> None:
    """Raises UsageError for the first thing that is wrong."""
    _check_texts(wanted)
    if wanted.name:
        checked_name(wanted.name)
    for name in filter(None, (wanted.hostname, wanted.domainname)):
        checked_hostname(name)
    if wanted.workdir and not wanted.workdir.startswith("/"):
        raise UsageError(f"the working directory '{wanted.workdir}' is invalid, it needs to be an absolute path")
    flags.check_restart(wanted.restart)
    if wanted.remove and wanted.restart.name != "no":
        raise UsageError("conflicting options: cannot specify both --restart and --rm")
    capabilities.resolve(wanted.cap_add, wanted.cap_drop)
    sharing.check(wanted)
    if abs(wanted.oom_score_adj or 0) > _SCORES:
        raise UsageError(f"Invalid value {wanted.oom_score_adj}, range for oom score adj is [-{_SCORES}, {_SCORES}]")
    if wanted.stop_signal and not is_number(wanted.stop_signal):
        flags.parse_signal(wanted.stop_signal)
    if wanted.health:
        flags.check_health(wanted.health)
    _check_mount_points(wanted)


def _check_texts(wanted: ContainerOptions) -> None:
    texts = (
        *(*wanted.command, *(wanted.entrypoint or ()), *wanted.env, wanted.workdir, wanted.user, *wanted.groups),
        *(path for bind in wanted.binds for path in (bind.source, bind.target)),
        *(path for device in wanted.devices for path in (device.source, device.target)),
        *(volume.target for volume in wanted.volumes),
        *(tmpfs.target for tmpfs in wanted.tmpfs),
        *wanted.sysctls.values(),
    )
    if any("\0" in text for text in texts):
        raise UsageError("a command, a variable and a path hold no zero byte")


def _check_mount_points(wanted: ContainerOptions) -> None:
    """Volumes without a name give way to what else is mounted in their place; memory to memory."""
    named = (volume for volume in wanted.volumes if volume.name or volume.as_mount)
    memory = {tmpfs.target for tmpfs in wanted.tmpfs}
    if "/dev" in memory:
        raise UsageError("invalid mount point: /dev has the container's devices: choose another, or one below")
    targets = Counter((*memory, *(bind.target for bind in wanted.binds), *(volume.target for volume in named)))
    for target, count in targets.items():
        if count > 1:
            raise UsageError(f"Duplicate mount point: {target}")

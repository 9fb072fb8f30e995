"""The flags of ``create`` and ``run``, as declarations. What they mean together is ``creation``'s."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from kernel_sandbox.commands import flags, syntax
from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import flags as texts
from kernel_sandbox.spec import kernel_flags, mount_flags, resolver, sharing, times, units

_NO_NETWORK = "a container has loopback alone, the host's network or another container's"
_REFUSED = {
    "ip": _NO_NETWORK, "ip6": _NO_NETWORK, "link": _NO_NETWORK,
    "link-local-ip": _NO_NETWORK, "mac-address": _NO_NETWORK, "network-alias": _NO_NETWORK, "publish": _NO_NETWORK,
    "blkio-weight-device": "--blkio-weight is for all devices",
    "cgroup-parent": "control groups have a parent of the engine's own",
    "cpu-rt-period": "the kernels of today share no real-time scheduling out",
    "cpu-rt-runtime": "the kernels of today share no real-time scheduling out",
    "device-cgroup-rule": "name devices with --device: their permissions hold without a control group",
    "device-read-bps": "name a weight with --blkio-weight", "device-read-iops": "name a weight with --blkio-weight",
    "device-write-bps": "name a weight with --blkio-weight", "device-write-iops": "name a weight with --blkio-weight",
    "gpus": "name the devices with --device",
    "kernel-memory": "the kernel counts its own memory in --memory",
    "memory-swappiness": "--memory-swap limits swap",
    "runtime": "the engine has one runtime, its own",
    "volume-driver": "volumes are directories of the store",
}  # fmt: skip
"""Docker's flags that have no meaning here, and what there is instead."""

_SHORT = {"publish": "-p"}


class Text:
    """A flag's text, read by a function of ``spec``; complaints name flag and value where *quotes*, as Docker's do."""

    def __init__(self, name: str, read: Callable[[str], Any], quotes: bool = True) -> None:
        self.name = name
        self._read = read
        self._quotes = quotes

    def convert(self, value: str, parameter: syntax.Parameter) -> Any:
        try:
            return self._read(value)
        except UsageError as error:
            if self._quotes:
                raise flags.invalid(value, parameter, error) from None
            raise


def _option(*names: str, read: Callable[[str], Any] | None = None, quotes: bool = True, **kwargs: Any) -> syntax.Option:
    if read is not None:
        kwargs["type"] = Text(kwargs.get("metavar", "text").lower(), read, quotes)
    return syntax.Option(names, **kwargs)


def _many(*names: str, **kwargs: Any) -> syntax.Option:
    return _option(*names, multiple=True, **kwargs)


def _refused(name: str, reason: str) -> syntax.Option:
    def refuse(value: tuple[str, ...]) -> None:
        if value:
            raise UsageError(f"--{name} is not supported: {reason}")

    shorts = (_SHORT[name],) if name in _SHORT else ()
    return _many(*shorts, f"--{name}", hidden=True, expose_value=False, callback=refuse)


def _swap(text: str) -> int:
    return -1 if text == "-1" else units.parse_bytes(text)


def _weight(text: str) -> int:
    """Go's strconv.ParseUint with 16 bits."""
    if not units.is_number(text):
        raise UsageError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) >= 1 << 16:
        raise UsageError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _namespace(type_: str) -> Callable[[str], str]:
    return lambda text: sharing.parse(type_, text)


def options() -> tuple[syntax.Option, ...]:
    """The flags that both commands have, in the order in which help shows them."""
    groups = (_identity, _process, _files, _rights, _namespaces, _names, _limits, _life, _hidden)
    return tuple(option for group in groups for option in group())


def _identity() -> tuple[syntax.Option, ...]:
    return (
        _option("--name", default="", metavar="NAME", help="Give the container this name."),
        _many("-l", "--label", "labels", read=texts.parse_label, metavar="KEY[=VALUE]", help="Attach a label."),
        _many("--label-file", "label_files", metavar="FILE", help="Attach the labels in a file, one a line."),
        _option("--cidfile", default="", metavar="FILE", help="Write the container's id to a file."),
        _option("--rm", "remove", is_flag=True, help="Remove the container when it has ended."),
        _option(
            "--platform",
            default="",
            envvar="DOCKER_DEFAULT_PLATFORM",
            metavar="OS/ARCH",
            help="Insist on an image for this platform.",
        ),
        _option("--pull", default="missing", metavar="missing|never|always", help="Whether to fetch the image."),
        _option("-q", "--quiet", is_flag=True, help="Do not tell how it is fetched."),
    )


def _process() -> tuple[syntax.Option, ...]:
    return (
        _option("-i", "--interactive", is_flag=True, help="Pass standard input on."),
        _option("-t", "--tty", is_flag=True, help="Give it a terminal."),
        _many("-a", "--attach", read=texts.parse_stream, metavar="STREAM", help="Show this stream: stdin, stdout…"),
        _many("-e", "--env", read=named_variable, metavar="NAME[=VALUE]", help="Set an environment variable."),
        _many("--env-file", "env_files", metavar="FILE", help="Set the variables in a file, one a line."),
        _option("-w", "--workdir", default="", metavar="DIR", help="Start in this directory."),
        _option("-u", "--user", default="", metavar="USER[:GROUP]", help="Run as this user, by name or id."),
        _many("--group-add", "groups", metavar="GROUP", help="Belong to this group, too."),
        _option("--entrypoint", default=None, metavar="COMMAND", help="Replace the image's entrypoint."),
        _option("--init", is_flag=True, help="Run an init that passes signals on and reaps processes."),
        _option("-h", "--hostname", default="", metavar="NAME", help="The host name inside."),
        _option("--domainname", default="", metavar="NAME", help="The NIS domain name inside."),
    )


def named_variable(text: str) -> str:
    if not text.partition("=")[0]:
        raise UsageError(f"invalid environment variable: {text}")
    return text


def _volume(text: str) -> str:
    """A host directory may be given from the current one on, with a dot in front."""
    mount_flags.check_volume(text)
    source, colon, rest = text.partition(":")
    if colon and (source == "." or source.startswith("./")):
        return f"{os.path.abspath(source)}:{rest}"
    return text


def _mount(text: str) -> str:
    mount_flags.check_mount(text)
    return text


def _files() -> tuple[syntax.Option, ...]:
    return (
        _many(
            "-v", "--volume", "volumes", read=_volume, quotes=False,
            metavar="[SOURCE:]TARGET[:MODE]", help="Show a host directory or a volume inside.",
        ),
        _many("--mount", "mounts", read=_mount, metavar="KEY=VALUE,…", help="The same, in full."),
        _many("--tmpfs", metavar="TARGET[:OPTIONS]", help="Have memory there, gone in the end."),
        _many("--volumes-from", metavar="CONTAINER[:ro]", help="Have the volumes of another container."),
        _option("--read-only", "readonly", is_flag=True, help="Make the root filesystem read-only."),
        _option("--shm-size", read=units.parse_bytes, metavar="BYTES", help="The size of /dev/shm. [64m]"),
        _many(
            "--storage-opt", "storage_options", read=texts.parse_storage_option, quotes=False, metavar="size=BYTES",
            help="Limit what the container may write.",
        ),
    )  # fmt: skip


def _rights() -> tuple[syntax.Option, ...]:
    return (
        _many("--cap-add", metavar="CAP", help="Add a Linux capability."),
        _many("--cap-drop", metavar="CAP", help="Drop a Linux capability."),
        _option("--privileged", is_flag=True, help="All rights and devices that the caller has."),
        _many(
            "--security-opt", "security", metavar="OPTION",
            help="no-new-privileges, seccomp=unconfined, seccomp=FILE, systempaths=unconfined.",
        ),
        _many(
            "--device", "devices", read=kernel_flags.parse_device, quotes=False, metavar="SOURCE[:TARGET][:rwm]",
            help="Have a device of the host's.",
        ),
        _many("--sysctl", "sysctls", read=kernel_flags.parse_sysctl, metavar="NAME=VALUE", help="Set it inside."),
    )  # fmt: skip


def _namespaces() -> tuple[syntax.Option, ...]:
    choice = "host|container:NAME"
    return (
        _option(
            "--network", "--net", read=sharing.parse_network, default="none", metavar=f"none|{choice}", quotes=False,
            help="No network but loopback (the default), the host's or another container's.",
        ),
        _option("--pid", read=_namespace("pid"), default="", metavar=choice, quotes=False, help="Share processes."),
        _option("--ipc", default="", metavar=f"{choice}|shareable|none", help="Share System V IPC and /dev/shm."),
        _option("--uts", read=_namespace("uts"), default="", metavar=choice, quotes=False, help="Share the host name."),
        _option("--userns", read=_namespace("user"), default="", metavar=choice, quotes=False, help="Share user ids."),
        _option(
            "--cgroupns", read=_namespace("cgroup"), default="", metavar=choice, quotes=False,
            help="Share the view of control groups.",
        ),
    )  # fmt: skip


def _names() -> tuple[syntax.Option, ...]:
    return (
        _many("--add-host", "extra_hosts", read=resolver.parse_host, metavar="NAME:ADDRESS", help="Know this host."),
        _many("--dns", read=resolver.parse_address, metavar="ADDRESS", help="Ask this name server."),
        _many("--dns-search", read=resolver.parse_domain, metavar="DOMAIN", help="Search names here; . for nowhere."),
        _many(
            "--dns-option", "--dns-opt", "dns_options", read=resolver.parse_option, metavar="OPTION",
            help="An option of resolv.conf(5).",
        ),
        _many(
            "--expose", "exposed", read=resolver.parse_exposed, quotes=False, metavar="PORT[-PORT][/PROTOCOL]",
            help="Tell that it listens there.",
        ),
    )  # fmt: skip


def limits() -> tuple[syntax.Option, ...]:
    """The limits that ``update`` can change, too."""
    return (
        _option("-m", "--memory", read=units.parse_bytes, metavar="BYTES", help="Limit memory, as 512m or 1g."),
        _option("--memory-swap", read=_swap, metavar="BYTES", help="Limit memory and swap together; -1 for none."),
        _option("--memory-reservation", read=units.parse_bytes, metavar="BYTES", help="Keep so much, if possible."),
        _option("--cpus", "nano_cpus", read=kernel_flags.parse_cpus, metavar="N", help="Limit processors, as 1.5."),
        _option("-c", "--cpu-shares", type=int, metavar="N", help="The share of processors; 1024 is usual."),
        _option("--cpu-period", type=int, metavar="MICROSECONDS", help="The period of --cpu-quota."),
        _option("--cpu-quota", type=int, metavar="MICROSECONDS", help="Limit processor time in each period."),
        _option("--cpuset-cpus", default="", metavar="LIST", help="Run on these processors alone, as 0-2,4."),
        _option("--cpuset-mems", default="", metavar="LIST", help="Use these memory nodes alone."),
        _option("--pids-limit", "pids", type=int, metavar="N", help="Limit processes and threads; -1 for none."),
        _option("--blkio-weight", read=_weight, metavar="N", help="The share of block devices, 10 to 1000."),
    )


def _limits() -> tuple[syntax.Option, ...]:
    return (
        *limits(),
        _many("--ulimit", "ulimits", read=kernel_flags.parse_ulimit, metavar="NAME=SOFT[:HARD]", help="setrlimit(2)."),
        _option("--oom-score-adj", type=int, metavar="N", help="How soon to be killed for memory, -1000 to 1000."),
    )


def restart() -> syntax.Option:
    """``--restart``, which ``update`` has, too."""
    return _option(
        "--restart", read=texts.parse_restart, quotes=False, metavar="POLICY",
        help="Start it again: no, on-failure[:N], always, unless-stopped.",
    )  # fmt: skip


def _duration(name: str, help: str) -> syntax.Option:
    return _option(name, read=times.parse_duration, default="0", metavar="DURATION", help=help)


def _life() -> tuple[syntax.Option, ...]:
    return (
        restart(),
        _option("--stop-signal", default="", metavar="SIGNAL", help="What `stop` sends."),
        _option("--stop-timeout", type=int, metavar="SECONDS", help="How long `stop` waits before it kills."),
        _option("--health-cmd", default="", metavar="COMMAND", help="Check the container's health with this."),
        _duration("--health-interval", help="The time between two checks. [30s]"),
        _duration("--health-timeout", help="How long a check may take. [30s]"),
        _duration("--health-start-period", help="Failures at first do not count for so long."),
        _option("--health-retries", type=int, default=0, metavar="N", help="Unhealthy after so many failures. [3]"),
        _option("--no-healthcheck", is_flag=True, help="Leave the image's check out."),
        _option("--log-driver", default="json-file", metavar="json-file|none", help="Whether to keep output."),
        _many("--log-opt", "log_options", read=texts.parse_option, metavar="NAME=VALUE", help="max-size, max-file."),
    )


def _hidden() -> tuple[syntax.Option, ...]:
    """What Docker's users type, and what does nothing here: accepted where that is no loss, else refused."""
    return (
        _option("--disable-content-trust", type=bool, default=True, hidden=True, expose_value=False),
        _option("--isolation", default="", hidden=True, expose_value=False, callback=_check_isolation),
        _option("-P", "--publish-all", is_flag=True, hidden=True, expose_value=False, callback=_refuse_publishing),
        _option("--oom-kill-disable", is_flag=True, hidden=True, expose_value=False, callback=_refuse_oom_disabling),
        *(_refused(name, reason) for name, reason in _REFUSED.items()),
    )


def _check_isolation(value: str) -> None:
    if value not in ("", "default"):
        raise UsageError(f"Invalid isolation: \"{value}\" - linux only supports 'default'")


def _refuse_publishing(value: bool) -> None:
    if value:
        raise UsageError(f"--publish-all is not supported: {_NO_NETWORK}")


def _refuse_oom_disabling(value: bool) -> None:
    if value:
        raise UsageError("--oom-kill-disable is not supported: a container over its limit would hang for ever")

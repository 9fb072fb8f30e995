"""``create``'s and ``run``'s flags together: what they ask of a container (``ContainerOptions``), and ``--cidfile``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from kernel_sandbox.commands.command import Context, FlagError
from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec import flags as texts
from kernel_sandbox.spec import mount_flags, seccomp, sharing
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.image import Healthcheck, platform_of_machine
from kernel_sandbox.spec.options import Bind, ContainerOptions, Limits, RestartPolicy, Sharing, Tmpfs, VolumeMount

_MAX_FILE = 1 << 20
_PULLS = ("always", "missing", "never")
_LISTS = ("cpuset_cpus", "cpuset_mems")
_PASSED_ON = (
    "image", "command", "interactive", "tty", "attach", "workdir", "user", "groups", "hostname", "domainname",
    "remove", "readonly", "init", "oom_score_adj", "ulimits", "volumes_from", "devices", "privileged",
    "cap_add", "cap_drop", "extra_hosts", "dns", "dns_search", "dns_options", "stop_signal", "stop_timeout",
    "log_driver",
)  # fmt: skip


def wanted(context: Context, /, detach_keys: str = "", detached: bool = False, **flags: Any) -> ContainerOptions:
    """The container that the flags ask for. Raises UsageError."""
    restart = flags["restart"]
    if flags["remove"] and restart and restart.name != "no":
        raise FlagError("conflicting options: cannot specify both --restart and --rm")
    log_options = dict(flags["log_options"])
    if flags["log_driver"] == "none" and log_options:
        raise FlagError("invalid logging opts for driver none")
    log_max_size, log_max_files = texts.log_limits(flags["log_driver"], log_options)
    options = ContainerOptions(
        **{name: flags[name] for name in _PASSED_ON},
        name=flags["name"].removeprefix("/"),
        detach_keys=detach_keys,
        detached=detached,
        env=variables(context, flags["env_files"], flags["env"]),
        labels=_labels(flags["label_files"], flags["labels"]),
        entrypoint=_entrypoint(flags["entrypoint"]),
        restart=restart or RestartPolicy(),
        limits=limits({**flags, "pids": max(flags["pids"] or 0, 0)}),
        shm_size=flags["shm_size"] or None,
        network=flags["network"][0],
        sharing=_sharing(flags),
        tmpfs=tuple(map(mount_flags.parse_tmpfs, flags["tmpfs"])),
        sysctls=dict(flags["sysctls"]),
        exposed=tuple(dict.fromkeys(port for ports in flags["exposed"] for port in ports)),
        health=_health(flags),
        log_options=log_options,
        log_max_size=log_max_size,
        log_max_files=log_max_files,
        storage_size=texts.storage_size(flags["storage_options"]),
        platform=_platform(flags["platform"]),
    )
    volumes = (mount_flags.parse_volume(text) for text in flags["volumes"])
    options = _with_mounts(options, (*volumes, *map(mount_flags.parse_mount, flags["mounts"])))
    for option in flags["security"]:
        options = _with_security(options, option)
    return options


def limits(flags: dict[str, Any]) -> Limits:
    """The limits that the flags ask for: None and "" for those without one, as for 0."""
    asked = {name: flags[name] or ("" if name in _LISTS else None) for name in Limits.__struct_fields__}
    return msgspec.convert(asked, decodable(Limits))


def variables(context: Context, files: Iterable[str], given: Iterable[str]) -> tuple[str, ...]:
    """``--env-file`` and ``-e`` together, the latter last. Raises UsageError."""
    own = dict(context.environment)
    listed = (pair for file in files for pair in _pairs(file, own))
    named = (entry for text in given if (entry := texts.parse_env(text, own)) is not None)
    return (*listed, *named)


def _labels(files: Iterable[str], given: Iterable[tuple[str, str]]) -> dict[str, str]:
    listed = (texts.parse_label(pair) for file in files for pair in _pairs(file, {}))
    return dict((*listed, *given))


def _pairs(file: str, own: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return texts.parse_pairs(file, _content(file), own)
    except UsageError as error:
        raise FlagError(str(error)) from None


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE + 1)
    except IsADirectoryError:
        raise FlagError(f"invalid env file ({path}): read {path}: is a directory") from None
    except OSError as error:
        raise FlagError(f"open {path}: {(error.strerror or '').lower()}") from None
    if len(content) > _MAX_FILE:
        raise FlagError(f"invalid env file ({path}): it is larger than {_MAX_FILE} bytes")
    return content


def _entrypoint(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return (text,) if text else ()


def _sharing(flags: dict[str, Any]) -> Sharing:
    return Sharing(
        user=flags["userns"],
        pid=flags["pid"],
        ipc=sharing.parse_ipc(flags["ipc"]),
        uts=flags["uts"],
        cgroup=flags["cgroupns"],
        network=flags["network"][1],
    )


def _health(flags: dict[str, Any]) -> Healthcheck | None:
    try:
        return texts.health(
            flags["health_cmd"],
            flags["health_interval"],
            flags["health_timeout"],
            flags["health_start_period"],
            flags["health_retries"],
            flags["no_healthcheck"],
        )
    except UsageError as error:
        raise FlagError(str(error)) from None


def _with_mounts(plain: ContainerOptions, mounts: Iterable[Bind | VolumeMount | Tmpfs]) -> ContainerOptions:
    found = tuple(mounts)
    return msgspec.structs.replace(
        plain,
        binds=tuple(mount for mount in found if isinstance(mount, Bind)),
        volumes=tuple(mount for mount in found if isinstance(mount, VolumeMount)),
        tmpfs=(*plain.tmpfs, *(mount for mount in found if isinstance(mount, Tmpfs))),
    )


def _with_security(plain: ContainerOptions, option: str) -> ContainerOptions:
    name, separator, value = option.replace(":", "=", 1).partition("=")
    if not separator and name != "no-new-privileges":
        raise FlagError(f'Invalid --security-opt: "{option}"')
    match name, value:
        case "no-new-privileges", "" | "true" | "false":
            return msgspec.structs.replace(plain, no_new_privileges=value != "false")
        case "seccomp", "unconfined":
            return msgspec.structs.replace(plain, seccomp_unconfined=True)
        case "seccomp", "builtin":
            return msgspec.structs.replace(plain, seccomp_unconfined=False, seccomp=None)
        case "seccomp", _ if value:
            return msgspec.structs.replace(plain, seccomp=_profile(value))
        case "systempaths", "unconfined":
            return msgspec.structs.replace(plain, systempaths_unconfined=True)
        case ("label", _) | ("apparmor", "unconfined"):
            return msgspec.structs.replace(plain, security_options=(*plain.security_options, option))
        case "apparmor", _:
            raise UsageError(f'--security-opt "{option}" is not supported: no AppArmor profile is ever loaded')
    raise UsageError(f'invalid --security-opt 2: "{option}"')


def _profile(path: str) -> seccomp.Profile:
    try:
        with open(path, "rb") as file:
            return seccomp.parse_profile(file.read(_MAX_FILE))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise FlagError(f"opening seccomp profile ({path}) failed: open {path}: {reason}") from error


def check_pull(pull: str) -> None:
    """``--pull``. Raises UsageError."""
    if pull not in _PULLS:
        raise FlagError(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"')


def _platform(text: str) -> str:
    """``--platform`` in full and in normal form, empty for none."""
    try:
        return str(platforms.parse(text, platform_of_machine(os.uname().machine))) if text else ""
    except UsageError as error:
        raise UsageError(f"error parsing specified platform: {error}") from None


@contextlib.contextmanager
def id_file(path: str) -> Iterator[Callable[[str], None]]:
    """``--cidfile``: what writes the id to a new file, which is removed where that does not happen."""
    if not path:
        yield lambda _: None
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise SandboxError(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from None
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise SandboxError(f"failed to create the container ID file: open {path}: {reason}") from None
    written = False

    def write(container_id: str) -> None:
        nonlocal written
        os.write(descriptor, container_id.encode())
        written = True

    try:
        yield write
    finally:
        os.close(descriptor)
        if not written:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

"""``info`` and ``version``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import rendered
from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec import units

if TYPE_CHECKING:
    from kernel_sandbox.engine.system import Info, Version


@syntax.command(Command)
@syntax.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="Show this: a Go template, or json.")
def info(context: Context, template: str) -> Result:
    """Show what the store holds and what this machine offers."""
    from kernel_sandbox.engine import system

    found = system.info(context.engine)
    shown = rendered(template, (found,), strict=False) if template else Lines(tuple(_info(found)))
    return msgspec.structs.replace(shown, errors=(*shown.errors, *map(_warning, found.warnings)))


def _warning(text: str) -> SandboxError:
    warning = SandboxError(text)
    warning.exit_code = 0
    return warning


def _info(found: Info) -> Iterator[str]:
    yield from ("Client:", f" Version:    {found.server_version}", " Context:    default", " Debug Mode: false", "")
    yield "Server:"
    yield f" Containers: {found.containers}"
    yield f"  Running: {found.containers_running}"
    yield f"  Paused: {found.containers_paused}"
    yield f"  Stopped: {found.containers_stopped}"
    yield f" Images: {found.images}"
    yield f" Server Version: {found.server_version}"
    yield f" Storage Driver: {found.driver}"
    yield from (f"  {name}: {value}" for name, value in found.driver_status)
    yield f" Logging Driver: {found.logging_driver}"
    yield f" Cgroup Driver: {found.cgroup_driver}"
    yield f" Cgroup Version: {found.cgroup_version}"
    yield " Plugins:"
    yield f"  Volume: {' '.join(found.plugins.volume)}"
    yield f"  Network: {' '.join(found.plugins.network)}"
    yield f"  Log: {' '.join(found.plugins.log)}"
    yield " Swarm: inactive"
    yield f" Runtimes: {' '.join(found.runtimes)}"
    yield f" Default Runtime: {found.default_runtime}"
    yield f" Init Binary: {found.init_binary}"
    yield " Security Options:"
    for option in found.security_options:
        name, *details = option.removeprefix("name=").split(",")
        yield f"  {name}"
        yield from (f"   {key.capitalize()}: {value}" for key, _, value in (each.partition("=") for each in details))
    yield from _machine(found)


def _machine(found: Info) -> Iterator[str]:
    yield f" Kernel Version: {found.kernel_version}"
    yield f" Operating System: {found.operating_system}"
    yield f" OSType: {found.os_type}"
    yield f" Architecture: {found.architecture}"
    yield f" CPUs: {found.ncpu}"
    yield f" Total Memory: {units.binary_size(found.mem_total)}"
    yield f" Name: {found.name}"
    yield f" ID: {found.id}"
    yield f" Docker Root Dir: {found.docker_root_dir}"
    yield f" ID Mapping: {found.id_mapping}"
    yield " Debug Mode: false"
    yield " Experimental: false"
    yield " Live Restore Enabled: true"


@syntax.command(Command)
@syntax.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="Show this: a Go template, or json.")
def version(context: Context, template: str) -> Result:
    """Show the version of this program."""
    from kernel_sandbox.engine import system

    found = system.version()
    return rendered(template, (found,), strict=False) if template else Lines(tuple(_version(found)))


def _version(found: Version) -> Iterator[str]:
    client, server = found.client, found.server
    yield "Client:"
    yield f" Version:           {client.version}"
    yield f" API version:       {client.api_version}"
    yield f" Python version:    {client.python_version}"
    yield f" OS/Arch:           {client.os}/{client.arch}"
    yield f" Context:           {client.context}"
    yield ""
    yield "Server:"
    yield " Engine:"
    yield f"  Version:          {server.version}"
    yield f"  API version:      {server.api_version} (minimum version {server.min_api_version})"
    yield f"  Python version:   {server.python_version}"
    yield f"  OS/Arch:          {server.os}/{server.arch}"
    yield f"  Kernel version:   {server.kernel_version}"

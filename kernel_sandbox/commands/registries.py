"""``login`` and ``logout``: who one is to registries."""

from __future__ import annotations

import os

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.errors import SandboxError, Unauthorized, UsageError
from kernel_sandbox.spec import docker_config
from kernel_sandbox.spec.docker_config import Login
from kernel_sandbox.spec.progress import Progress, Tell

_ON_COMMAND_LINE = "WARNING! Using --password via the CLI is insecure. Use --password-stdin."
_UNENCRYPTED = """
WARNING! Your credentials are stored unencrypted in '{}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/
"""
_EXISTING = """Authenticating with existing credentials... [Username: {0}]

Info: to log in with a different account, run '{1} logout' followed by '{1} login'
"""
_MAX_PASSWORD = 1 << 16


@syntax.command(Command)
@syntax.option("-p", "--password", help="The password or access token, for others on this machine to see.")
@syntax.option("--password-stdin", is_flag=True, help="The password or access token is standard input.")
@syntax.option("-u", "--username", help="The user's name.")
@syntax.argument("server", required=False, default="")
def login(context: Context, password: str | None, password_stdin: bool, username: str | None, server: str) -> Result:
    """Log in to a registry; to Docker Hub if none is named."""
    _check(username, password, password_stdin)
    domain = docker_config.server(server)
    with context.telling() as tell:
        if password:
            tell(Progress(_ON_COMMAND_LINE))
        if password_stdin:
            password = _read_password(context.stdin)
        if not (username or password) and _is_known(context, domain, tell):
            return Lines(("Login Succeeded",))
        wanted = _completed(context, username or "", password or "")
        _log_in(context, domain, wanted, tell)
    return Lines(("Login Succeeded",))


def _check(username: str | None, password: str | None, password_stdin: bool) -> None:
    if password is not None and password_stdin:
        raise UsageError("conflicting options: cannot specify both --password and --password-stdin")
    if password_stdin and not username:
        raise UsageError("the --password-stdin option requires --username to be set")
    for value, what in ((username, "username"), (password, "password")):
        if value == "":
            raise UsageError(f"{what} is empty")


def _is_known(context: Context, domain: str, tell: Tell) -> bool:
    """Whether the registry takes the login that is kept already."""
    from kernel_sandbox.engine import registry_access

    known = registry_access.stored_login(context.environment, domain)
    if known is None:
        return False
    tell(Progress(_EXISTING.format(known.username, context.program)))
    try:
        _log_in(context, domain, known, tell)
    except Unauthorized:
        tell(Progress("Stored credentials invalid or expired"))
        return False
    return True


def _log_in(context: Context, domain: str, wanted: Login, tell: Tell) -> None:
    from kernel_sandbox.engine import registry_access

    if path := registry_access.log_in(context.environment, domain, wanted):
        tell(Progress(_UNENCRYPTED.format(path)))


def _completed(context: Context, username: str, password: str) -> Login:
    """The login, with what is missing asked for."""
    username = username or context.ask("Username: ", False).strip()
    if not username:
        raise SandboxError("Non-null Username Required")
    password = password or context.ask("Password: ", True).rstrip("\r\n")
    if not password:
        raise SandboxError("Password Required")
    return Login(username, password)


def _read_password(descriptor: int) -> str:
    """All of standard input, but for the end of its last line."""
    content = b""
    while len(content) <= _MAX_PASSWORD and (piece := os.read(descriptor, _MAX_PASSWORD)):
        content += piece
    try:
        if len(content) <= _MAX_PASSWORD:
            return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        pass
    raise UsageError("standard input is no password: it is too long, or not UTF-8")


@syntax.command(Command)
@syntax.argument("server", required=False, default="")
def logout(context: Context, server: str) -> Result:
    """Forget the login to a registry; to Docker Hub if none is named."""
    from kernel_sandbox.engine import registry_access

    domain = docker_config.server(server)
    try:
        registry_access.log_out(context.environment, domain)
    except SandboxError as error:  # to Docker no failure
        with context.telling() as tell:
            tell(Progress(f"WARNING: could not erase credentials:\n{docker_config.key(domain)}: {error}"))
    return Lines((f"Removing login credentials for {docker_config.key(domain)}",))

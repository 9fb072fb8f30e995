"""Programs that keep secrets: ``docker-credential-NAME``, by the protocol of docker-credential-helpers.

The request goes to the program's standard input and the answer comes from its standard output; secrets are never on a
command line. Here: one conversation with one program. Not here: which program keeps what.
"""

from __future__ import annotations

import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Mapping

import msgspec

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.decoding import decodable
from kernel_sandbox.spec.docker_config import HelperLogin, Login, key

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATIENCE = 60.0  # seconds: some ask their user on a screen of their own
_MAX_ANSWER = 1 << 20
_PIECE = 1 << 16
_NOT_FOUND = "credentials not found in native keychain"


class CredentialHelper:
    """The program ``docker-credential-NAME``. Raises SandboxError for a name that is none."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        if not _NAME.fullmatch(name):
            raise SandboxError(f"invalid name of a credential helper: {name[:80]!r}: mend credsStore or credHelpers")
        self.program = f"docker-credential-{name}"
        self._environment = environment

    def get(self, domain: str) -> Login:
        """The login that it keeps for a registry; an empty one if it keeps none. Raises SandboxError."""
        status, answer = self._talk("get", key(domain).encode())
        if status:
            if answer.decode(errors="replace").strip() == _NOT_FOUND:
                return Login()
            raise self._failure("get", answer)
        try:
            return msgspec.json.decode(answer, type=decodable(HelperLogin)).login
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise SandboxError(f"{self.program} get: its answer is no login in JSON") from None

    def store(self, domain: str, login: Login) -> None:
        """Have it keep a login. Raises SandboxError."""
        self._do("store", msgspec.json.encode(HelperLogin.of(login, domain)))

    def erase(self, domain: str) -> None:
        """Have it forget a registry's login, if it keeps one. Raises SandboxError."""
        self._do("erase", key(domain).encode())

    def _do(self, verb: str, request: bytes) -> None:
        status, answer = self._talk(verb, request)
        if status and answer.decode(errors="replace").strip() != _NOT_FOUND:
            raise self._failure(verb, answer)

    def _failure(self, verb: str, answer: bytes) -> SandboxError:
        lines = answer.decode(errors="replace").strip().splitlines() or ["no reason given"]
        return SandboxError(f"{self.program} {verb}: {lines[0][:200]}")

    def _talk(self, verb: str, request: bytes) -> tuple[int, bytes]:
        """The program's exit status and answer."""
        path = shutil.which(self.program, path=self._environment.get("PATH"))
        if path is None:
            raise SandboxError(f"{self.program} is not in PATH: install it, or mend credsStore or credHelpers")
        try:
            process = subprocess.Popen(
                [path, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=dict(self._environment), bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise SandboxError(f"cannot run {self.program}: {(error.strerror or '').lower()}") from error
        with process:
            try:
                return self._exchange(process, request)
            except subprocess.TimeoutExpired:
                raise SandboxError(f"{self.program}: no answer in {_PATIENCE:g} seconds") from None
            finally:
                process.kill()

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes) -> tuple[int, bytes]:
        assert process.stdin and process.stdout
        deadline = time.monotonic() + _PATIENCE
        try:
            process.stdin.write(request)  # shorter than a pipe's buffer
            process.stdin.close()
        except BrokenPipeError:
            pass
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(deadline - time.monotonic()):
                piece = process.stdout.read(_PIECE)
                if not piece:
                    return process.wait(_PATIENCE), answer
                answer += piece
                if len(answer) > _MAX_ANSWER:
                    raise SandboxError(f"{self.program}: it answers more than {_MAX_ANSWER} bytes")
        raise subprocess.TimeoutExpired(self.program, _PATIENCE)

"""A kernel's settings as a container's options."""

import msgspec
import pytest

from kernel_sandbox.errors import HostError, UsageError
from kernel_sandbox.jupyter.plan import Connection, KernelSettings, container_options, socket_prefix
from kernel_sandbox.spec.options import Bind, ContainerOptions, Network

TCP = Connection("127.0.0.1", "secret", "tcp", "hmac-sha256", 5001, 5002, 5003, 5004, 5005)


def planned(cwd: str = "/home/me/course", **settings: object) -> ContainerOptions:
    asked = KernelSettings(image="python", **settings)  # type: ignore[arg-type]
    return container_options(asked, "kernel-1", "/run/k", ("--debug",), {"TOKEN": "secret", "COURSE": "os"}, cwd)


def test_the_defaults_are_no_network_no_mounts_no_environment() -> None:
    options = planned()
    assert options.network is Network.NONE
    assert options.env == ("JPY_PARENT_PID=1",)
    assert [bind.source for bind in options.binds] == ["/run/k", "/run/k/sockets"]
    assert options.binds[0].readonly
    assert options.workdir == ""


def test_ipykernel_gets_the_callers_arguments() -> None:
    assert planned().command[-1] == "--debug"


def test_only_named_variables_pass() -> None:
    assert planned(env=("COURSE", "A=b", "MISSING")).env == ("JPY_PARENT_PID=1", "COURSE=os", "A=b")


def test_limits_are_read_as_docker_reads_them() -> None:
    options = planned(memory="512m", pids_limit=100)
    assert (options.limits.memory, options.limits.pids) == (512 * 2**20, 100)


@pytest.mark.parametrize(
    ("mount", "bind", "workdir"),
    [
        (".:/work", Bind("/home/me/course", "/work"), "/work"),
        ("..:/home:ro", Bind("/home/me", "/home", readonly=True, mode="ro"), "/home/course"),
        ("/data:/data", Bind("/data", "/data"), ""),
        ("/home/me/cour:/other", Bind("/home/me/cour", "/other"), ""),
    ],
)
def test_the_working_directory_is_kept_where_it_is_mounted(mount: str, bind: Bind, workdir: str) -> None:
    options = planned(mounts=(mount,))
    assert options.binds[2] == msgspec.structs.replace(bind, as_mount=True)
    assert options.workdir == workdir


@pytest.mark.parametrize(
    "settings", [{"memory": "much"}, {"network": "bridge9"}, {"mounts": ("/data",)}, {"env": ("=x",)}]
)
def test_a_wrong_setting_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        planned(**settings)


def test_the_container_is_told_sockets_and_the_same_key() -> None:
    inside = TCP.inside()
    assert inside.transport == "ipc"
    assert (inside.key, inside.ports) == (TCP.key, TCP.ports)
    assert not inside.ip.startswith("/run/k")


def test_a_path_too_long_for_sockets_is_refused() -> None:
    assert socket_prefix("/run/k").startswith("/run/k/")
    with pytest.raises(HostError, match="XDG_RUNTIME_DIR"):
        socket_prefix("/run/" + "k" * 100)

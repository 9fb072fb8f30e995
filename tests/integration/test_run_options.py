"""What ``run``'s flags change inside: environment, working directory, user, entrypoint, names, the root filesystem."""

import pytest
from support.containers import complaint, ids_inside, inspected

from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.options import ContainerOptions


def inside(cli, *arguments: str, **options) -> list[str]:
    """The lines that a command in a new busybox container writes."""
    return cli("run", "--rm", *arguments, check=True, **options).stdout.splitlines()


def test_environment_variables_are_given_by_value_or_taken_by_name(cli):
    flags = ("-e", "A=1", "-e", "B=two words", "-e", "EMPTY=", "-e", "TAKEN", "-e", "NOT_SET", "-e", "A=last")
    lines = inside(cli, *flags, "busybox", "env", env={"TAKEN": "from the caller"})
    assert {"A=last", "B=two words", "EMPTY=", "TAKEN=from the caller"} <= set(lines)
    assert not [line for line in lines if line.startswith("NOT_SET")]


def test_nothing_of_the_callers_environment_leaks(cli):
    lines = inside(cli, "busybox", "env", env={"SECRET_TOKEN": "x", "LD_PRELOAD": "", "PYTHONPATH": "/x"})
    assert {line.partition("=")[0] for line in lines} == {"PATH", "HOSTNAME", "HOME"}


def test_the_working_directory_is_made_when_missing(cli):
    script = "pwd; ls -ld . | cut -c1-10"
    assert inside(cli, "-w", "/made/on/the/way", "busybox", "sh", "-c", script) == ["/made/on/the/way", "drwxr-xr-x"]


def test_a_working_directory_that_is_a_file_is_refused(cli, name):
    done = cli("run", "--rm", "-w", "/etc/passwd", "busybox", "true")
    assert "/etc/passwd" in complaint(done, done.returncode)
    assert done.returncode in (125, 126, 127)


def test_a_user_is_found_by_name_and_by_number(cli, shared_store):
    assert inside(cli, "-u", "root", "busybox", "id", "-u") == ["0"]
    if ids_inside(shared_store) == 1:
        message = complaint(cli("run", "--rm", "-u", "65534", "busybox", "true"), 125)
        assert "subuid" in message
        return
    script = "id -u; id -g; grep -E 'Cap(Eff|Prm|Inh|Amb)' /proc/self/status | cut -f2 | sort -u; echo $HOME"
    powerless = "0000000000000000"
    assert inside(cli, "-u", "1000", "busybox", "sh", "-c", script) == ["1000", "0", powerless, "/"]
    assert inside(cli, "-u", "1000:2000", "busybox", "sh", "-c", "id -u; id -g") == ["1000", "2000"]
    nobody = inside(cli, "-u", "nobody", "busybox", "sh", "-c", "id -un; id -u")
    assert nobody[0] == "nobody"


def test_an_entrypoint_replaces_the_images_and_drops_its_command(cli):
    assert inside(cli, "--entrypoint", "echo", "busybox", "given", "words") == ["given words"]
    assert inside(cli, "--entrypoint", "echo", "busybox") == [""]
    assert inside(cli, "--entrypoint", "", "busybox", "echo", "plain") == ["plain"]


def test_flags_after_the_image_belong_to_the_command(cli):
    assert inside(cli, "busybox", "echo", "--rm", "-e", "--name") == ["--rm -e --name"]


def test_the_hostname_is_the_short_id_or_what_is_asked_for(cli, shared_store, name):
    script = "hostname; cat /etc/hostname; grep -c $(hostname) /etc/hosts; echo $HOSTNAME"
    assert inside(cli, "-h", "box.example", "busybox", "sh", "-c", script) == [
        "box.example",
        "box.example",
        "1",
        "box.example",
    ]
    cli("run", "--name", name, "busybox", "hostname", check=True)
    id_ = inspected(shared_store, name)["Id"]
    assert cli("logs", name).stdout == f"{id_[:12]}\n"


def test_labels_are_kept(cli, shared_store, name):
    cli("create", "--name", name, "-l", "a=1", "--label", "b", "-l", "c=x=y", "busybox", check=True)
    labels = inspected(shared_store, name)["Config"]["Labels"]
    assert {"a": "1", "b": "", "c": "x=y"}.items() <= labels.items()


def test_a_read_only_root_filesystem_refuses_writes(cli):
    script = "touch /x; touch /etc/x; touch /dev/shm/x && echo shm; cat /etc/hosts > /dev/null && echo read"
    done = cli("run", "--rm", "--read-only", "busybox", "sh", "-c", script)
    assert done.stdout.split() == ["shm", "read"]
    assert done.stderr.count("Read-only file system") == 2


@pytest.mark.parametrize(
    ("flags", "mask"),
    [
        ((), 0xA80425FB),
        (("--cap-drop", "ALL"), 0),
        (("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"), 1 << 10),
        (("--cap-drop", "chown", "--cap-drop", "CAP_MKNOD"), 0xA80425FB & ~(1 << 0) & ~(1 << 27)),
        (("--cap-add", "SYS_PTRACE"), 0xA80425FB | 1 << 19),
    ],
    ids=lambda value: " ".join(value) or "default" if isinstance(value, tuple) else "",
)
def test_capabilities_are_dropped_and_added(cli, flags, mask):
    rows = dict(line.split() for line in inside(cli, *flags, "busybox", "grep", "Cap", "/proc/self/status"))
    assert [int(rows[f"Cap{name}:"], 16) for name in ("Eff", "Prm", "Bnd")] == [mask] * 3
    assert [int(rows[f"Cap{name}:"], 16) for name in ("Inh", "Amb")] == [0, 0]


def test_no_new_privileges_is_set_on_request_only(cli):
    command = ("busybox", "grep", "NoNewPrivs", "/proc/self/status")
    assert inside(cli, *command)[0].split()[1] == "0"
    assert inside(cli, "--security-opt", "no-new-privileges", *command)[0].split()[1] == "1"


def test_seccomp_can_be_switched_off_or_replaced(cli, tmp_path):
    command = ("busybox", "sh", "-c", "grep Seccomp: /proc/self/status | cut -f2; mkdir /new 2>&1")
    assert inside(cli, *command) == ["2"]
    assert inside(cli, "--security-opt", "seccomp=unconfined", *command) == ["0"]
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":'
        ' [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}'
    )
    done = cli("run", "--rm", "--security-opt", f"seccomp={profile}", *command)
    assert done.stdout.splitlines()[0] == "2"
    assert "Operation not permitted" in done.stdout
    profile.write_text('{"defaultAction": "NONSENSE"}')
    assert complaint(cli("run", "--rm", "--security-opt", f"seccomp={profile}", *command), 125)


@pytest.mark.parametrize(
    "arguments",
    [("busybox", "echo", "caf\udce9"), ("-e", "A=\udce9", "busybox"), ("-w", "/\udce9", "busybox"), ("b\udce9",)],
    ids=["command", "variable", "directory", "image"],
)
def test_what_is_not_utf8_is_refused_in_one_line(cli, arguments):
    done = cli("run", "--rm", *arguments)
    assert complaint(done, done.returncode)
    assert done.returncode in (1, 125)


def test_a_zero_byte_is_refused_before_a_container_is_made(shared_store):
    before = shared_store.containers()
    wanted = (
        {"command": ("echo", "a\0b")},
        {"entrypoint": ("\0",)},
        {"env": ("A=\0",)},
        {"workdir": "/\0"},
        {"user": "\0"},
    )
    with Engine.open() as engine:
        for options in wanted:
            with pytest.raises(UsageError, match="zero byte"):
                engine.containers.create(ContainerOptions("busybox", **options))
    assert shared_store.containers() == before

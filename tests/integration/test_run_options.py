"""What ``run``'s flags change inside: environment, working directory, user, entrypoint, names, the root filesystem."""

from pathlib import Path

import pytest
from support.containers import complaint, ids_inside, inspected

from kernel_sandbox.engine import Engine
from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.options import ContainerOptions

pytestmark = pytest.mark.same_with_more_ids


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


def test_the_domain_name_is_what_is_asked_for(cli):
    assert inside(cli, "--domainname", "dom.example", "busybox", "cat", "/proc/sys/kernel/domainname") == [
        "dom.example"
    ]


def test_hosts_and_name_servers_are_what_is_asked_for(cli):
    flags = ("--add-host", "a:1.2.3.4", "--dns", "1.1.1.1", "--dns-search", "b.example", "--dns-option", "rotate")
    lines = inside(cli, *flags, "busybox", "sh", "-c", "grep -w a /etc/hosts; cat /etc/resolv.conf")
    assert lines == ["1.2.3.4\ta", "search b.example", "nameserver 1.1.1.1", "options rotate"]


def test_exposed_ports_are_told_and_found(cli, shared_store, name):
    cli("create", "--name", name, "--expose", "80", "--expose", "90-91/udp", "busybox", check=True)
    assert inspected(shared_store, name)["Config"]["ExposedPorts"] == {"80/tcp": {}, "90/udp": {}, "91/udp": {}}
    listing = ("ps", "-a", "--format", "{{.Names}}", "--filter", f"name={name}", "--filter")
    assert cli(*listing, "expose=80", check=True).stdout == f"{name}\n"
    assert cli(*listing, "expose=81", check=True).stdout == ""


def test_variables_come_from_files_and_flags_go_before_them(cli, tmp_path):
    file = tmp_path / "variables"
    file.write_text("# comment\nA=file\n\nB= two words \nTAKEN\nNOT_SET\n")
    lines = inside(cli, "--env-file", str(file), "-e", "A=flag", "busybox", "env", env={"TAKEN": "from the caller"})
    assert {"A=flag", "B= two words ", "TAKEN=from the caller"} <= set(lines)
    assert not [line for line in lines if line.startswith("NOT_SET")]


def test_a_file_of_variables_that_cannot_be_read_is_refused(cli, tmp_path):
    file = tmp_path / "bad"
    file.write_text("A B=1\n")
    missing = cli("run", "--rm", "--env-file", "/nosuch", "busybox", "true")
    assert complaint(missing, 125) == "open /nosuch: no such file or directory"
    bad = cli("run", "--rm", "--env-file", str(file), "busybox", "true")
    assert complaint(bad, 125) == f"invalid env file ({file}): variable 'A B' contains whitespaces"
    bad = cli("run", "--rm", "--label-file", str(tmp_path), "busybox", "true")
    assert complaint(bad, 125) == f"invalid env file ({tmp_path}): read {tmp_path}: is a directory"


def test_labels_come_from_files_too(cli, shared_store, name, tmp_path):
    (tmp_path / "labels").write_text("a=file\nb=file\n")
    cli("create", "--name", name, "--label-file", str(tmp_path / "labels"), "-l", "b=flag", "busybox", check=True)
    assert {"a": "file", "b": "flag"}.items() <= inspected(shared_store, name)["Config"]["Labels"].items()


def test_groups_are_added(cli, shared_store):
    if ids_inside(shared_store) == 1:
        message = complaint(cli("run", "--rm", "--group-add", "5", "busybox", "true"), 125)
        assert "group 5 does not exist in this container" in message
        return
    groups = inside(cli, "-u", "7:8", "--group-add", "9", "--group-add", "root", "busybox", "id", "-G")
    assert set(groups[0].split()) == {"8", "9", "0"}
    message = complaint(cli("run", "--rm", "--group-add", "nosuch", "busybox", "true"), 125)
    assert message == "Unable to find group nosuch: no matching entries in group file"


def test_the_id_is_written_to_a_file_that_must_be_new(cli, shared_store, name, tmp_path):
    file = tmp_path / "id"
    cli("create", "--name", name, "--cidfile", str(file), "busybox", check=True)
    assert file.read_text() == inspected(shared_store, name)["Id"]
    again = cli("create", "--cidfile", str(file), "busybox")
    assert f"container ID file found, make sure the other container isn't running or delete {file}" in complaint(
        again, 1
    )
    nowhere = cli("create", "--cidfile", "/nosuch/id", "busybox")
    assert "failed to create the container ID file: open /nosuch/id: no such file" in complaint(nowhere, 1)


def test_no_file_with_an_id_is_left_when_there_is_no_container(cli, tmp_path):
    for flags in (("--name", "!"), ("--pull", "never")):
        assert cli("create", "--cidfile", str(tmp_path / "id"), *flags, "nosuch").returncode == 1
        assert not (tmp_path / "id").exists()


def test_what_is_there_need_not_be_pulled(cli):
    for pull in ("never", "missing"):
        assert inside(cli, "--pull", pull, "busybox", "echo", "here") == ["here"]
    bad = complaint(cli("run", "--rm", "--pull", "bogus", "busybox", "true"), 125)
    assert bad == 'invalid pull option: \'bogus\': must be one of "always", "missing" or "never"'


def test_the_image_must_be_for_the_platform_that_is_asked_for(cli):
    assert inside(cli, "--platform", "linux", "busybox", "echo", "here") == ["here"]
    other = ("--pull", "never", "--platform", "linux/s390x")
    message = complaint(cli("run", "--rm", *other, "busybox", "true"), 125)
    assert "does not match the specified platform: wanted linux/s390x, actual: linux/" in message
    assert "error parsing specified platform" in complaint(
        cli("run", "--rm", "--platform", "x", "busybox", "true"), 125
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--restart", "bogus"), "invalid restart policy 'bogus'"),
        (("--restart", "always:3"), "maximum retry count cannot be used with restart policy 'always'"),
        (("--stop-signal", "BOGUS"), "Invalid signal: BOGUS"),
        (("--oom-score-adj", "1001"), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (("--health-interval", "1us"), "Interval in Healthcheck cannot be less than 1ms"),
        (("--log-driver", "bogus"), 'error looking up logging plugin bogus: plugin "bogus" not found'),
        (("--log-opt", "bogus=1"), "unknown log opt 'bogus' for json-file log driver"),
        (("--storage-opt", "bogus=1"), "Unknown option bogus"),
        (("--security-opt", "bogus=1"), 'invalid --security-opt 2: "bogus=1"'),
        (("--cap-add", "bogus"), 'invalid CapAdd: unknown capability: "CAP_BOGUS"'),
        (("-w", "rel"), "the working directory 'rel' is invalid, it needs to be an absolute path"),
        (("--ipc", "bogus"), "Invalid IPC mode: bogus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_refused_in_dockers_words(cli, flags, message):
    assert complaint(cli("run", *flags, "busybox", "true"), 125) == message
    assert complaint(cli("create", *flags, "busybox", "true"), 1) == message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--rm", "--restart", "always"), "conflicting options: cannot specify both --restart and --rm"),
        (("--no-healthcheck", "--health-cmd", "true"), "--no-healthcheck conflicts with --health-* options"),
        (("--health-retries", "-1"), "--health-retries cannot be negative"),
        (("--log-driver", "none", "--log-opt", "max-size=1m"), "invalid logging opts for driver none"),
        (("--security-opt", "bogus"), 'Invalid --security-opt: "bogus"'),
        (("--pull", "bogus"), 'invalid pull option: \'bogus\': must be one of "always", "missing" or "never"'),
        (("--env-file", "/nosuch"), "open /nosuch: no such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_dockers_client_refuses_has_one_exit_code(cli, flags, message):
    for command in ("run", "create"):
        assert complaint(cli(command, *flags, "busybox", "true"), 125) == message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-l", "=x"), 'invalid argument "=x" for "-l, --label" flag: invalid label \'=x\': empty name'),
        (("-a", "x"), 'invalid argument "x" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'),
        (("--ulimit", "bogus=1"), 'invalid argument "bogus=1" for "--ulimit" flag: invalid ulimit type: bogus'),
        (("--sysctl", "vm.x=1"), 'invalid argument "vm.x=1" for "--sysctl" flag: sysctl \'vm.x=1\' is not allowed'),
        (("--cpus", "x"), 'invalid argument "x" for "--cpus" flag: failed to parse x as a rational number'),
        (("--mount", "x"), 'invalid argument "x" for "--mount" flag: invalid field \'x\' must be a key=value pair'),
        (("--device", "/dev/null:/dev/x:z"), "bad mode specified: z"),
        (("--pid", "bogus"), "--pid: invalid PID mode"),
        (("-v", "/a:/b:c:d"), "invalid spec: /a:/b:c:d: too many colons"),
        (("--gpus", "all"), "--gpus is not supported: name the devices with --device"),
        (("-p", "80"), "--publish is not supported: a container has loopback alone, the host's network or another"),
        (("-P",), "--publish-all is not supported"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_flag_that_cannot_be_read_is_refused_at_once(cli, flags, message):
    for command in ("run", "create"):
        done = cli(command, *flags, "busybox", "true")
        assert done.returncode == 125
        assert done.stderr.startswith(f"kernel-sandbox: {message}")


def test_resource_limits_are_seen_inside(cli):
    flags = ("--ulimit", "nofile=77:88", "--ulimit", "core=0")
    script = "ulimit -Sn; ulimit -Hn; ulimit -c"
    assert inside(cli, *flags, "busybox", "sh", "-c", script) == ["77", "88", "0"]


def test_a_resource_limit_above_the_callers_is_lowered_or_kept(cli):
    limit = inside(cli, "--ulimit", "nofile=-1", "busybox", "sh", "-c", "ulimit -n")[0]
    assert limit == "unlimited" or int(limit) > 77


def test_the_memory_killer_is_told_whom_to_prefer(cli):
    assert inside(cli, "--oom-score-adj", "500", "busybox", "cat", "/proc/self/oom_score_adj") == ["500"]


def test_shared_memory_has_the_size_that_is_asked_for(cli):
    script = "df -k /dev/shm | tail -1 | awk '{print $2}'"
    assert inside(cli, "busybox", "sh", "-c", script) == ["65536"]
    assert inside(cli, "--shm-size", "1m", "busybox", "sh", "-c", script) == ["1024"]


def test_settings_of_the_kernel_are_seen_inside_and_not_outside(cli):
    flags = ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=1234")
    files = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax")
    before = [Path(file).read_text() for file in files]
    assert inside(cli, *flags, "busybox", "cat", *files) == ["1", "1234"]
    assert [Path(file).read_text() for file in files] == before


def test_a_setting_of_a_namespace_of_the_hosts_is_refused(cli):
    flags = ("--network", "host", "--sysctl", "net.ipv4.ip_forward=1")
    assert "not allowed in host network namespace" in complaint(cli("run", "--rm", *flags, "busybox", "true"), 125)
    flags = ("--ipc", "host", "--sysctl", "kernel.msgmax=1")
    assert "not allowed in the hosts ipc namespace" in complaint(cli("run", "--rm", *flags, "busybox", "true"), 125)


def test_memory_is_mounted_where_it_is_asked_for(cli):
    flags = ("--tmpfs", "/t:size=1m,mode=700", "--mount", "type=tmpfs,target=/u,tmpfs-mode=1770", "--tmpfs", "/etc")
    script = "grep -E ' /(t|u|etc) ' /proc/mounts | cut -d' ' -f2-4; stat -c %a /t /u /etc; touch /t/x && echo written"
    lines = inside(cli, *flags, "busybox", "sh", "-c", script)
    mounted = {line.split()[0]: line.split()[2].split(",") for line in lines[:3]}
    assert mounted.keys() == {"/t", "/u", "/etc"}
    assert {"rw", "nosuid", "nodev", "noexec", "size=1024k"} <= set(mounted["/t"])
    assert lines[3:] == ["700", "1770", "755", "written"]


def test_memory_may_have_programs_when_asked_for(cli):
    script = "cp /bin/busybox /t/echo && /t/echo ran"
    assert inside(cli, "--tmpfs", "/t:exec", "busybox", "sh", "-c", script) == ["ran"]
    assert "ermission denied" in cli("run", "--rm", "--tmpfs", "/t", "busybox", "sh", "-c", script).stderr


def test_memory_lies_where_a_link_of_the_image_leads(cli, shared_store, name):
    cli("run", "--name", name, "busybox", "ln", "-s", "/real", "/linked", check=True)
    cli("commit", name, f"localhost/{name}", check=True)
    try:
        image = f"localhost/{name}"
        assert inside(cli, "--tmpfs", "/linked", image, "sh", "-c", "grep -c ' /real ' /proc/mounts") == ["1"]
    finally:
        cli("rmi", "-f", f"localhost/{name}", check=True)


def test_dev_and_proc_are_no_place_for_memory(cli):
    assert "/dev" in complaint(cli("run", "--rm", "--tmpfs", "/dev", "busybox", "true"), 125)
    assert "/proc" in complaint(cli("run", "--rm", "--tmpfs", "/proc", "busybox", "true"), 125)


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

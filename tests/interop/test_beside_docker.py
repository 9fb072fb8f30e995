"""The same command lines on a real Docker engine and on ours: same standard output, same exit code.

Errors are compared by a piece of text that both must say. ``DIFFERENCES`` lists where ours differs on purpose, and
why; ids, ages and column widths are masked (see ``support.side_by_side``).
"""

from collections.abc import Iterator

import pytest
from support.side_by_side import IMAGE, Pair, rich_rootfs_tar
from support.waiting import wait_until

STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status"

AGREE = f"""
    run --rm pair true
    run --rm pair false
    run --rm pair sh -c 'exit 7'
    run --rm pair sh -c 'exit 255'
    run --rm pair sh -c 'echo out; echo err >&2'
    run --rm pair missing
    run --rm pair /missing
    run --rm pair /etc
    run --rm pair ./opt
    run --rm pair /opt/file
    run --rm pair /opt/dangling
    run --rm pair
    run --rm --entrypoint '' pair
    run --rm --entrypoint echo pair hi
    run --rm --entrypoint /bin/sh pair -c 'echo hi'
    run --rm --entrypoint '' pair echo hi
    run --rm pair echo --rm -x -- y
    run --rm pair sh -c 'kill -9 1; echo alive'
    run --rm pair sh -c 'kill -TERM 1; echo alive'
    run --rm -w /tmp pair sh -c pwd
    run --rm -w /new/dir pair sh -c 'pwd; stat -c "%a %u:%g" /new /new/dir'
    run --rm -w / pair ls
    run --rm pair sh -c pwd
    run --rm pair env
    run --rm -e A=1 -e B= -e A=2 -e C='x y' pair sh -c 'env | sort'
    run --rm -e PATH=/bin -e HOME=/x pair env
    run --rm -e NOT_SET_ANYWHERE pair env
    run --rm -u 1000 pair env
    run --rm -h name pair env
    run --rm -h name pair sh -c 'cat /etc/hostname; cat /proc/sys/kernel/hostname'
    run --rm pair sh -c 'test "$(cat /etc/hostname)" = "$HOSTNAME" && echo same'
    run --rm pair id
    run --rm -u 0 pair id
    run --rm -u 1000 pair id
    run --rm -u 1000:1000 pair id
    run --rm -u 1234:10 pair id
    run --rm -u student pair id
    run --rm -u student:wheel pair id
    run --rm -u root:student pair id
    run --rm pair {STATUS}
    run --rm -u 1000 pair {STATUS}
    run --rm --cap-add NET_ADMIN pair {STATUS}
    run --rm --cap-add cap_sys_admin pair {STATUS}
    run --rm --cap-drop ALL pair {STATUS}
    run --rm --cap-drop ALL --cap-add CHOWN pair {STATUS}
    run --rm --cap-drop MKNOD --cap-drop NET_RAW pair {STATUS}
    run --rm --security-opt no-new-privileges pair {STATUS}
    run --rm --security-opt seccomp=unconfined pair {STATUS}
    run --rm pair ls -a /dev
    run --rm pair ls /dev/pts /dev/shm /dev/mqueue
    run --rm pair ls /sys/fs/cgroup
    run --rm pair ls /sys/class/net
    run --rm pair stat -c '%n %F %a %t %T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
    run --rm pair stat -c '%n %F %a %N' /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/ptmx /dev/shm /dev/mqueue
    run --rm pair stat -c '%n %a' /proc /sys /dev /etc/hosts /etc/hostname /etc/resolv.conf
    run --rm pair sh -c 'ls -A /proc/acpi /sys/firmware 2>&1; cat /proc/keys /proc/timer_list 2>&1 | wc -c'
    run --rm pair sh -c 'echo 1 > /proc/sys/kernel/domainname'
    run --rm pair sh -c 'echo 1 > /proc/irq/x'
    run --rm pair touch /sys/x /proc/x
    run --rm pair mount -t tmpfs none /tmp
    run --rm pair ps
    run --rm pair sh -c 'ulimit -n; ulimit -c; umask; cat /proc/self/oom_score_adj'
    run --rm pair cat /proc/sys/net/ipv4/ip_unprivileged_port_start
    run --rm --read-only pair touch /x
    run --rm --read-only pair touch /dev/shm/x
    run --rm -v /etc/hostname:/opt/file:ro pair sh -c 'echo x > /opt/file'
    run --rm -v /usr/share/doc:/new/mount/point:ro pair sh -c 'touch /new/mount/point/x; stat -c %F /new/mount/point'
    ps --no-trunc
    ps -q
    images nosuch
"""

REFUSED = """
    run --rm -w relative pair true            | the working directory 'relative' is invalid, it needs to be an absolute
    run --rm -w /etc/passwd pair true         | not a directory
    run --rm -u nobody pair true              | unable to find user nobody: no matching entries in passwd file
    run --rm -u 1000:nogroup pair true        | unable to find group nogroup: no matching entries in group file
    run --rm -u -5 pair true                  | uids and gids must be in range
    run --rm --cap-add NOSUCH pair true       | unknown capability: "CAP_NOSUCH"
    run --rm -m 1m pair true                  | Minimum memory limit allowed is 6MB
    run --rm -m bad pair true                 | invalid argument "bad" for "-m, --memory" flag: invalid size: 'bad'
    run --rm --pids-limit x pair true         | pids-limit
    run --rm --nonsense pair true             | unknown flag: --nonsense
    run --rm --name '!' pair true             | Invalid container name (!), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed
    run --rm --name x pair true               | Invalid container name (x)
    run --rm -e =x pair true                  | invalid environment variable: =x
    run --rm -v /:/ pair true                 | invalid volume specification: '/:/'
    run --rm -v /a:/b:zz pair true            | zz
    run --rm --security-opt bad pair true     | nvalid --security-opt: "bad"
    run --rm nosuch true                      | Unable to find image 'nosuch:latest' locally
    run --rm nosuch:tag true                  | Unable to find image 'nosuch:tag' locally
    run --rm Upper true                       | repository name (library/Upper) must be lowercase
    run --rm a:b:c true                       | invalid reference format
    run                                       | requires
    create                                    | requires
    inspect nosuch                            | No such object: nosuch
    inspect                                   | requires
    container inspect nosuch                  | No such container: nosuch
    image inspect nosuch                      | No such image: nosuch:latest
    logs nosuch                               | No such container: nosuch
    logs                                      | requires
    start nosuch                              | No such container: nosuch
    stop nosuch                               | No such container: nosuch
    kill nosuch                               | No such container: nosuch
    wait nosuch                               | No such container: nosuch
    export nosuch                             | No such container: nosuch
    rm nosuch other                           | No such container: nosuch
    rm -f nosuch                              | No such container: nosuch
    rm                                        | requires
    rmi nosuch                                | No such image: nosuch:latest
    rmi nosuch:tag                            | No such image: nosuch:tag
    rmi                                       | requires
    tag nosuch x                              | No such image: nosuch:latest
    tag pair Upper                            | repository name (library/Upper) must be lowercase
    tag pair two:bad:tag                      | invalid reference format
    tag pair                                  | requires
    commit nosuch                             | No such container: nosuch
    commit                                    | requires
    import                                    | requires
    import /nosuch                            | no such file or directory
    import /etc/passwd                        | tar
    import - Upper                            | must be lowercase
    ps --nonsense                             | unknown flag: --nonsense
    ps extra                                  | argument
    nosuchcommand                             | nosuchcommand
"""

# What ours answers, where Docker answers otherwise, and why.
DIFFERENCES = (
    (
        "run --rm pair stat -c %u /dev/null /proc /dev/mqueue",
        "0\n0\n0\n",
        "65534\n65534\n65534\n",
        "Every container has a user namespace, in which the machine's root, who owns these, has no id.",
    ),
    (
        "run --rm pair cut -f 2 /proc/sys/net/ipv4/ping_group_range",
        "2147483647\n",
        "65535\n",
        "A group range ends with the groups that the user namespace has.",
    ),
    (
        "run --rm pair sh -c 'wc -c < /etc/resolv.conf | grep -q ^0$ && echo empty || echo filled'",
        "filled\n",
        "empty\n",
        "A container without a network is not told the machine's name servers.",
    ),
    (
        "run --rm -h me pair sh -c 'grep me$ /etc/hosts; true'",
        "",
        "127.0.1.1\tme\n",
        "A container without a network finds its own name all the same.",
    ),
    (
        "run --rm pair sh -c 'cut -d: -f3 /proc/self/cgroup | sort -u | grep -c ^/.'",
        "1\n",
        "0\n",
        "A cgroup namespace always, as today's Docker has on cgroup v2: the container sees no path of the machine's.",
    ),
    (
        "run --rm pair sh -c 'test -e /.dockerenv && echo there || echo none'",
        "there\n",
        "none\n",
        "This is not Docker.",
    ),
)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


@pytest.fixture
def named(pair: Pair) -> Iterator[str]:
    """A name for a container on both sides, which is removed afterwards."""
    yield "both"
    pair.forget("both")


@pytest.mark.parametrize("line", _lines(AGREE))
def test_the_same_command_has_the_same_result(pair: Pair, line: str) -> None:
    pair.agree(line)


@pytest.mark.parametrize("line", _lines(REFUSED))
def test_the_same_mistake_has_the_same_exit_code_and_is_named(pair: Pair, line: str) -> None:
    command, _, words = map(str.strip, line.rpartition(" | "))
    docker, ours = pair.run(command, timeout=30)
    assert words in docker.said, "the table quotes Docker"
    assert ours.result == docker.result, f"docker: {docker}\nours:   {ours}"
    assert words in ours.said


@pytest.mark.parametrize(("line", "dockers", "own", "reason"), DIFFERENCES, ids=[each[0] for each in DIFFERENCES])
def test_a_difference_is_the_documented_one(pair: Pair, line: str, dockers: str, own: str, reason: str) -> None:
    docker, ours = pair.run(line)
    assert (docker.stdout, ours.stdout) == (dockers, own), reason


def test_mount_points_are_dockers(pair: Pair) -> None:
    line = f"run --rm {IMAGE} sh -c 'cut -d \" \" -f 2,3 /proc/mounts'"
    docker, ours = ({*outcome.stdout.splitlines()} for outcome in pair.run(line))
    # Device files cannot be made in a user namespace: they are the machine's, bound. Docker masks interrupts, too,
    # since a later version than the one here may be.
    names = [{line.split()[0] for line in mounts} for mounts in (docker, ours)]
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert names[1] - names[0] - devices <= {"/proc/interrupts"}
    assert names[0] <= names[1]
    kernel = {"/ overlay", "/proc proc", "/dev tmpfs", "/dev/pts devpts", "/sys sysfs", "/dev/mqueue mqueue"}
    assert kernel <= docker & ours


def test_standard_input_reaches_the_command_only_with_i(pair: Pair) -> None:
    assert pair.agree(f"run --rm -i {IMAGE} cat", input="one\ntwo\n").stdout == "one\ntwo\n"
    assert pair.agree(f"run --rm {IMAGE} cat", input="one\n").stdout == ""


def test_binary_input_and_output_come_through_unchanged(pair: Pair) -> None:
    data = bytes(range(256)) * 1000
    docker, ours = pair.raw(f"run --rm -i {IMAGE} cat", input=data, text=False)
    assert docker.stdout == ours.stdout == data


def test_a_container_from_its_birth_to_its_end(pair: Pair, named: str) -> None:
    assert pair.agree(f"run --name {named} {IMAGE} sh -c 'echo out; echo err >&2; exit 3'").status == 3
    for line in (
        f"logs {named}",
        f"wait {named}",
        f"stop {named}",
        f"start {named}",
        f"wait {named}",
        f"logs {named}",
    ):
        pair.agree(line)
    for line, words in (
        (f"run --name {named} {IMAGE} true", f'The container name "/{named}" is already in use by container "<ID>"'),
        (f"create --name {named} {IMAGE} true", f'The container name "/{named}" is already in use'),
        (f"kill {named}", "is not running"),
        (f"rmi {IMAGE}", f'conflict: unable to remove repository reference "{IMAGE}" (must force) - container <id>'),
    ):
        docker, ours = pair.run(line)
        assert ours.status == docker.status, line
        assert words in docker.said
        assert words in ours.said
    assert pair.agree(f"rm {named}").stdout == f"{named}\n"


def test_a_detached_container_runs_until_it_is_ended(pair: Pair, named: str) -> None:
    pair.agree(f"run -d --name {named} {IMAGE} sleep 100")
    docker, ours = pair.run(f"rm {named}")
    assert ours == docker
    docker, ours = pair.run(f"kill -s NOSUCH {named}")
    assert ours == docker
    assert pair.agree(f"kill -s KILL {named}").stdout == f"{named}\n"
    assert pair.agree(f"wait {named}").stdout == "137\n"
    assert pair.agree(f"start {named}").status == 0
    assert pair.agree(f"stop -t 0 {named}").stdout == f"{named}\n"
    assert pair.agree(f"rm -f {named}").stdout == f"{named}\n"


@pytest.mark.parametrize("signal", ["TERM", "INT", "USR1", "9"])
def test_a_signal_reaches_the_command(pair: Pair, named: str, signal: str) -> None:
    script = "trap 'exit 143' TERM; trap 'exit 130' INT; trap 'exit 5' USR1; echo up; while true; do sleep 0.05; done"
    pair.agree(f'run -d --name {named} {IMAGE} sh -c "{script}"')
    wait_until(lambda: all("up" in done.stdout for done in pair.raw(f"logs {named}")), interval=0.2)
    pair.agree(f"kill -s {signal} {named}")
    assert pair.agree(f"wait {named}").stdout in ("143\n", "130\n", "5\n", "137\n")


def test_ps_has_dockers_table(pair: Pair, named: str) -> None:
    docker, ours = pair.tables("ps")
    assert ours == docker
    for command in ("sh -c 'echo hi'", "sh -c 'exit 2'", "echo a-rather-long-argument-here", "echo '\"q\" \\ $x'"):
        pair.raw(f"run --name {named} {IMAGE} {command}")
        for line in ("ps -a", "ps -a --no-trunc"):
            docker, ours = pair.tables(line)
            assert ours == docker
        pair.forget(named)
    pair.raw(f"create --name {named} {IMAGE} true")
    docker, ours = pair.tables("ps -a")
    assert ours == docker
    pair.forget(named)
    pair.raw(f"run -d --name {named} {IMAGE} sleep 100")
    docker, ours = pair.tables("ps")
    assert ours == docker


def test_an_empty_table_is_dockers_to_the_last_space(pair: Pair) -> None:
    assert pair.agree("images nosuch").stdout
    assert pair.agree("ps").stdout


def test_images_has_dockers_table(pair: Pair) -> None:
    pair.agree(f"tag {IMAGE} localhost:5000/some/name:v1")
    for line in (f"images {IMAGE}", "images localhost:5000/some/name", f"images --no-trunc {IMAGE}"):
        docker, ours = pair.tables(line)
        assert ours == docker
    assert pair.agree("rmi localhost:5000/some/name:v1").stdout == "Untagged: localhost:5000/some/name:v1\n"


def _paths(document: object, prefix: str = "") -> dict[str, type]:
    """Every path in a JSON document, down to what is no object, with its type; null has none."""
    if isinstance(document, dict):
        return {path: t for key, value in document.items() for path, t in _paths(value, f"{prefix}.{key}").items()}
    return {prefix: type(document)} if document is not None else {}


# Facts that are each engine's own: where its files lie, when, and what Docker counts in its own way.
_OWN_VALUES = (
    "Path", "Id", "Created", "At", "Image", "GraphDriver", "Dir", "Driver", "Pid", "RepoDigests", "Layers", "Runtime",
    "MaskedPaths", "CgroupnsMode",
)  # fmt: skip


def test_inspect_of_a_container_is_dockers_document(pair: Pair, named: str) -> None:
    pair.raw(
        f"run --name {named} -e A=1 -w /tmp -u 1000:10 -l k=v -h host -m 64m --read-only --cap-add NET_ADMIN "
        f"--cap-drop MKNOD --security-opt no-new-privileges -v /etc/hostname:/opt/file:ro {IMAGE} sh -c 'exit 3'"
    )
    docker, ours = pair.documents(f"inspect {named}")
    theirs, own = _paths(docker), _paths(ours)
    assert own == {path: theirs.get(path) for path in own}
    for part in ("State", "Config", "HostConfig"):
        facts = {key: value for key, value in ours[part].items() if not key.endswith(_OWN_VALUES)}
        assert facts == {key: docker[part][key] for key in facts}, part
    assert (ours["Path"], ours["Args"], ours["Name"]) == (docker["Path"], docker["Args"], docker["Name"])
    assert ours["Mounts"] == docker["Mounts"]
    assert ours["Platform"] == docker["Platform"]


def test_inspect_lists_what_it_finds_and_names_what_it_does_not(pair: Pair, named: str) -> None:
    pair.raw(f"create --name {named} {IMAGE} true")
    done = pair.raw(f"inspect {named} nosuch")
    assert [each.returncode for each in done] == [1, 1]
    assert all('"Id"' in each.stdout and "No such object: nosuch" in each.stderr for each in done)


CHANGES = (
    """CMD ["echo", "hi there"]""",
    "CMD echo hi there",
    """ENTRYPOINT ["sh", "-c"]""",
    "ENTRYPOINT echo",
    "ENV A=1",
    "ENV A 1 and more",
    """ENV A=1 B="2 3" C=x\\ y""",
    "EXPOSE 80 90/udp",
    "LABEL k=v",
    """LABEL k="v w" l=m""",
    "ONBUILD RUN true",
    "USER student",
    "USER 5:6",
    "VOLUME /data",
    """VOLUME ["/a", "/b"]""",
    "WORKDIR /a",
    "WORKDIR sub",
    "BAD x",
    "RUN true",
    "ENV",
    "EXPOSE x",
    "USER",
    "ONBUILD FROM x",
    "WORKDIR",
)
_CONFIG = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "OnBuild", "User", "Volumes", "WorkingDir")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_at_commit_is_read_as_docker_reads_it(pair: Pair, named: str, change: str) -> None:
    for cli, network in ((pair.docker.cli, ("--network", "none")), (pair.store.cli, ())):
        cli("create", *network, "--name", named, "-e", "OWN=1", "-w", "/tmp", IMAGE, "sh", check=True)
    done = [cli("commit", "-c", change, named, "changed") for cli in (pair.docker.cli, pair.store.cli)]
    assert done[0].returncode == done[1].returncode, (done[0].stderr, done[1].stderr)
    if done[0].returncode:
        return
    try:
        docker, ours = pair.documents("image inspect changed")
        configs = [{key: image["Config"].get(key) or None for key in _CONFIG} for image in (docker, ours)]
        assert configs[1] == configs[0]
    finally:
        pair.raw("rmi changed")


def test_commit_records_who_and_why_and_the_new_image_runs(pair: Pair, named: str) -> None:
    pair.raw(f"run --name {named} {IMAGE} sh -c 'echo new > /new; rm /opt/file; rm -r /opt/sticky; mkdir /d'")
    pair.agree(f'commit -m note -a me -c \'CMD ["ls", "/", "/opt"]\' {named} made:1')
    docker, ours = pair.documents("inspect made:1")
    facts = ("Author", "Comment", "Os", "Architecture", "RepoTags")
    assert {key: ours[key] for key in facts} == {key: docker[key] for key in facts}
    assert len(ours["RootFS"]["Layers"]) == len(docker["RootFS"]["Layers"]) == 2
    assert ours["RootFS"]["Layers"][0] == docker["RootFS"]["Layers"][0]
    pair.agree("run --rm made:1")
    pair.agree("run --rm made:1 cat /new")
    pair.forget(named)
    assert pair.agree("rmi made:1").stdout.startswith("Untagged: made:1\nDeleted: sha256:<ID>\n")


def test_import_with_changes_makes_dockers_image(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> None:
    archive = rich_rootfs_tar(tmp_path_factory.mktemp("again"))
    pair.agree(f"import -m why -c 'CMD [\"id\"]' -c 'USER student' -c 'ENV A=1' {archive} imported")
    docker, ours = pair.documents("inspect imported")
    assert ours["RootFS"] == docker["RootFS"]
    assert ours["Comment"] == docker["Comment"] == "why"
    pair.agree("run --rm imported")
    pair.agree("run --rm imported env")
    assert pair.agree("rmi imported").status == 0

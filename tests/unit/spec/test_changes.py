"""``--change`` instructions on an image's configuration."""

import msgspec
import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.changes import apply, merged_env
from kernel_sandbox.spec.image import ContainerConfig, Healthcheck

BASE = ContainerConfig(env=("A=1", "B=2"), cmd=("sh",), working_dir="/work")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b c"]', {"cmd": ("a", "b c")}),
        ("CMD echo $HOME", {"cmd": ("/bin/sh", "-c", "echo $HOME")}),
        ("cmd [not json", {"cmd": ("/bin/sh", "-c", "[not json")}),
        ('ENTRYPOINT ["e"]', {"entrypoint": ("e",), "cmd": ()}),
        ("ENV A=2", {"env": ("A=2", "B=2")}),
        ("ENV C=3 A=x\\ y D='single $q'", {"env": ("A=x y", "B=2", "C=3", "D=single $q")}),
        ('ENV C="two words"', {"env": ("A=1", "B=2", "C=two words")}),
        ("ENV old form of it", {"env": ("A=1", "B=2", "old=form of it")}),
        ("LABEL k=v other='x y'", {"labels": {"k": "v", "other": "x y"}}),
        ("WORKDIR sub", {"working_dir": "/work/sub"}),
        ("WORKDIR /other", {"working_dir": "/other"}),
        ("USER 1000:10", {"user": "1000:10"}),
        ("STOPSIGNAL SIGUSR1", {"stop_signal": "SIGUSR1"}),
        ("ONBUILD RUN x", {"on_build": ("RUN x",)}),
        ("  USER   me ", {"user": "me"}),
    ],
)
def test_an_instruction_changes_its_part_alone(change, expected):
    assert apply(BASE, [change]) == msgspec.structs.replace(BASE, **expected)


def test_ports_and_volumes_are_collected():
    config = apply(BASE, ["EXPOSE 80 53/udp", "EXPOSE 80/tcp", 'VOLUME ["/a", "/b"]', "VOLUME /c"])
    assert sorted(config.exposed_ports) == ["53/udp", "80/tcp"]
    assert sorted(config.volumes) == ["/a", "/b", "/c"]


def test_a_range_of_ports_is_each_of_them_and_the_hosts_ports_are_none():
    assert sorted(apply(BASE, ["EXPOSE 80-82/udp 8080:90"]).exposed_ports) == ["80/udp", "81/udp", "82/udp", "90/tcp"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("HEALTHCHECK NONE", Healthcheck(test=("NONE",))),
        ('HEALTHCHECK CMD ["a", "b"]', Healthcheck(test=("CMD", "a", "b"))),
        ("healthcheck --interval=5s  --retries=3  cmd  a  b", Healthcheck(
            test=("CMD-SHELL", "a  b"), interval=5 * 10**9, retries=3)),
        ("HEALTHCHECK --timeout=1m --start-period=0s CMD a", Healthcheck(test=("CMD-SHELL", "a"), timeout=60 * 10**9)),
    ],
)  # fmt: skip
def test_a_health_check_is_read(change, expected):
    assert apply(BASE, [change]).healthcheck == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("", "file with no instructions"),
        ("RUN ls", "run is not a valid change command"),
        ("USER", "USER requires exactly one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("EXPOSE 90-80", "Invalid containerPort: 90-80"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK bla x", 'Unknown type "BLA" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=5 CMD a", 'time: missing unit in duration "5"'),
        ("HEALTHCHECK --interval=-5s CMD a", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --retries=x CMD a", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("HEALTHCHECK --retries=0 CMD a", "--retries must be at least 1 (not 0)"),
        ("HEALTHCHECK --bla=x CMD a", "Unknown flag: bla"),
    ],
)
def test_what_is_wrong_is_told_in_dockers_words(change, words):
    with pytest.raises(UsageError) as refusal:
        apply(BASE, [change])
    assert str(refusal.value) == words


def test_a_command_given_before_the_entrypoint_is_kept():
    assert apply(BASE, ['CMD ["c"]', 'ENTRYPOINT ["e"]']).cmd == ("c",)


@pytest.mark.parametrize(
    "change",
    ["", " ", "RUN ls", "FROM x", "COPY a b", "ENV", "ENV A", "LABEL k", "EXPOSE many",
     "EXPOSE 0", "EXPOSE 65536", "EXPOSE ²",
     "EXPOSE 80/sctpx", "USER", "WORKDIR", "ONBUILD FROM x", "ONBUILD ONBUILD RUN x", "ENV A=1 B", "LABEL =v"],
)  # fmt: skip
def test_a_bad_instruction_is_refused(change):
    with pytest.raises(UsageError):
        apply(BASE, [change])


def test_variables_keep_their_place_and_the_last_wins():
    assert merged_env(("A=1", "B=2"), ("C=3", "A=4", "A=5")) == ("A=5", "B=2", "C=3")

"""``--change`` instructions on an image's configuration."""

import msgspec
import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.changes import apply, committed
from kernel_sandbox.spec.environment import merged_env
from kernel_sandbox.spec.expansion import expanded
from kernel_sandbox.spec.image import ContainerConfig, Empty, Healthcheck

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
        ("USER $A:${B}", {"user": "1:2"}),
        ('USER "a b"', {"user": "a b"}),
        ("ENV C=$A D=${B}x E=${NO:-d} F=\\$A G='$A' H=\"$A\"", {
            "env": ("A=1", "B=2", "C=1", "D=2x", "E=d", "F=$A", "G=$A", "H=1")}),
        ("ENV C=1\nENV D=$C", {"env": ("A=1", "B=2", "C=1", "D=1")}),
        ('ENV C "x y" z', {"env": ("A=1", "B=2", "C=x y z")}),
        ("ENV C=a\\", {"env": ("A=1", "B=2", "C=a")}),
        ("LABEL $A=$B 'x y'=z", {"labels": {"1": "2", "x y": "z"}}),
        ("LABEL a=b \\\n# a comment\n\n  c=d", {"labels": {"a": "b", "c": "d"}}),
        ("# a comment\nCMD a \\\nb", {"cmd": ("/bin/sh", "-c", "a b")}),
        ("CMD\ttab", {"cmd": ("/bin/sh", "-c", "tab")}),
        ('CMD ["$A"]', {"cmd": ("$A",)}),
        ("WORKDIR $A", {"working_dir": "/work/1"}),
        ("WORKDIR ../../..", {"working_dir": "/"}),
        ("WORKDIR /a/../b", {"working_dir": "/a/../b"}),
        ("VOLUME /$A '/b'", {"volumes": {"/1": Empty(), "/b": Empty()}}),
        ("EXPOSE ${A}${B}/UDP 0 [::1]:80:90 1-2:7", {
            "exposed_ports": {"12/udp": Empty(), "0/tcp": Empty(), "90/tcp": Empty(), "7/tcp": Empty()}}),
    ],
)  # fmt: skip
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
        ("HEALTHCHECK --interval CMD a", "Missing a value on flag: interval"),
        ("HEALTHCHECK --interval=1s --interval=2s CMD a", "Duplicate flag specified: interval"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
        ("CMD --bla x", "Unknown flag: bla"),
        ('CMD ["a", 1]', "when using JSON array syntax, arrays must be comprised of strings only"),
        ("ENV =x", "ENV names can not be blank"),
        ("ENV A=1 B", 'Syntax error - can\'t find = in "B". Must be of the form: name=value'),
        ('ENV A="1', 'failed to process "\\"1": unexpected end of statement while looking for matching double-quote'),
        ("ENV C='1", 'failed to process "\'1": unexpected end of statement while looking for matching single-quote'),
        ("ENV C=${A", "failed to process \"${A\": syntax error: missing '}'"),
        ("ENV C=${}", 'failed to process "${}": syntax error: bad substitution'),
        ("ENV C=${A=1}", 'failed to process "${A=1}": unsupported modifier (=) in substitution'),
        ("ENV C=${NO:?gone}", 'failed to process "${NO:?gone}": NO: gone'),
        ("ENV C=${NO?}", 'failed to process "${NO?}": NO: is not allowed to be unset'),
        ("WORKDIR $NO", "cannot normalize nothing"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("STOPSIGNAL NOSUCH", "Invalid signal: NOSUCH"),
        ("EXPOSE 80/xyz", "Invalid proto: xyz"),
        ("EXPOSE /tcp", "No port specified: /tcp<empty>"),
        ("EXPOSE a:80", "Invalid hostPort: a"),
        ("EXPOSE 1.2.3:80:80", "Invalid ip address: 1.2.3"),
        ("EXPOSE 1-2:80-82", "Invalid ranges specified for container and host Ports: 80-82 and 1-2"),
        ("ENV A\nRUN ls", "run is not a valid change command"),
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
     "EXPOSE 65536", "EXPOSE ²",
     "EXPOSE 80/sctpx", "USER", "WORKDIR", "ONBUILD FROM x", "ONBUILD ONBUILD RUN x", "ENV A=1 B", "LABEL =v"],
)  # fmt: skip
def test_a_bad_instruction_is_refused(change):
    with pytest.raises(UsageError):
        apply(BASE, [change])


@pytest.mark.parametrize(
    ("word", "value"),
    [("${E:-x}", "x"), ("${E-x}", ""), ("${E:+x}", ""), ("${E+x}", "x"), ("${A:-x}", "1"), ("${A:+$B}", "2"),
     ("${NO:-${A}}", "1"), ("${NO:-'}'}", "}"), ("$A1", ""), ("${A}1", "11"), ("$", "$"), ("a$ b", "a$ b"),
     ("$1$@", ""), ('"\\$A \\n"', "$A \\n"), ("\\'", "'")],
)  # fmt: skip
def test_a_variable_stands_for_its_value_or_what_is_said_beside_it(word, value):
    assert expanded(word, {"A": "1", "B": "2", "E": ""}) == value


def test_what_a_change_leaves_empty_stays_as_the_container_has_it():
    check = Healthcheck(test=("CMD", "old"), interval=7, retries=3)
    own = ContainerConfig(user="me", cmd=("c",), entrypoint=("e",), healthcheck=check)

    assert committed(own, ["ENTRYPOINT []"]) == own
    assert committed(own, ["CMD []"]).cmd == ()
    assert committed(own, ['ENTRYPOINT ["n"]']).cmd == ()
    assert committed(own, ['USER ""']) == own
    assert committed(own, ["HEALTHCHECK --retries=9 CMD x"]).healthcheck == Healthcheck(
        test=("CMD-SHELL", "x"), interval=7, retries=9
    )


def test_a_word_nested_without_end_is_refused():
    with pytest.raises(UsageError):
        expanded("${a:-" * 100_000, {})


def test_the_shell_form_is_for_the_images_shell():
    assert apply(ContainerConfig(shell=("/bin/ash", "-ec")), ["CMD x"]).cmd == ("/bin/ash", "-ec", "x")


def test_variables_keep_their_place_and_the_last_wins():
    assert merged_env(("A=1", "B=2"), ("C=3", "A=4", "A=5")) == ("A=5", "B=2", "C=3")

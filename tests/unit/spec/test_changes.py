"""``--change`` instructions on an image's configuration."""

import msgspec
import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.changes import apply, merged_env
from kernel_sandbox.spec.image import ContainerConfig

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

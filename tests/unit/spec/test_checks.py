"""What is refused of a container before anything is made."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import checks
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.options import Bind, ContainerOptions, RestartPolicy, Tmpfs, VolumeMount


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"name": "a"}, "Invalid container name"),
        ({"hostname": "n" * 65}, "hostname"),
        ({"domainname": "n" * 65}, "hostname"),
        ({"workdir": "rel"}, "the working directory 'rel' is invalid, it needs to be an absolute path"),
        ({"restart": RestartPolicy("bogus")}, "invalid restart policy 'bogus'"),
        ({"restart": RestartPolicy("always"), "remove": True}, "cannot specify both --restart and --rm"),
        ({"cap_add": ("BOGUS",)}, 'invalid CapAdd: unknown capability: "CAP_BOGUS"'),
        ({"oom_score_adj": 1001}, r"Invalid value 1001, range for oom score adj is \[-1000, 1000\]"),
        ({"stop_signal": "BOGUS"}, "Invalid signal: BOGUS"),
        ({"binds": (Bind("/a", "/x"), Bind("/b", "/x"))}, "Duplicate mount point: /x"),
        ({"binds": (Bind("/a", "/x"),), "tmpfs": (Tmpfs("/x"),)}, "Duplicate mount point: /x"),
        ({"binds": (Bind("/a", "/x"),), "volumes": (VolumeMount("v", "/x"),)}, "Duplicate mount point: /x"),
        ({"tmpfs": (Tmpfs("/dev"),)}, "/dev has the container's devices"),
        ({"health": Healthcheck(timeout=1000)}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"groups": ("a\0b",)}, "zero byte"),
        ({"binds": (Bind("/a\0", "/x"),)}, "zero byte"),
    ],
)
def test_refused(options, complaint):
    with pytest.raises(UsageError, match=complaint):
        checks.check(ContainerOptions("image", **options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stop_signal": "99"},
        {"restart": RestartPolicy("no"), "remove": True},
        {"tmpfs": (Tmpfs("/x"), Tmpfs("/x"))},
        {"binds": (Bind("/a", "/x"),), "volumes": (VolumeMount("", "/x", anonymous=True),)},
    ],
)
def test_accepted(options):
    checks.check(ContainerOptions("image", **options))

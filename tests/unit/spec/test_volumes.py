"""Which volumes a container gets, of its own, of other containers and of its image."""

from itertools import count

import pytest

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.options import Bind, ContainerOptions, Tmpfs, VolumeMount
from kernel_sandbox.spec.volumes import Donor, checked_name, parse_volumes_from, resolved


def mounts(*image_volumes, donors=(), **wanted):
    """What is mounted where: a host's path, or a volume's name; anonymous volumes are numbered."""
    numbers = count(1)
    found = resolved(ContainerOptions("image", **wanted), image_volumes, donors, lambda: f"new{next(numbers)}")
    return {bind.target: bind for bind in found.binds} | {volume.target: volume for volume in found.volumes}


def names(*image_volumes, **wanted):
    return {target: mount.name for target, mount in mounts(*image_volumes, **wanted).items()}


@pytest.mark.parametrize("name", ["ab", "a1", "A.b-c_d", "0" * 64, "a" * 255])
def test_names(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("a", "create a: volume name is too short, names should be at least two alphanumeric characters"),
        (
            "a/b",
            'create a/b: "a/b" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
        ),
    ],
)
def test_wrong_names(name, complaint):
    with pytest.raises(SandboxError) as raised:
        checked_name(name)
    assert str(raised.value) == complaint


@pytest.mark.parametrize("name", ["..", ".a", "-ab", "a\n", "a b", "a\0", "ä1", "a" * 256, "a/../b"])
def test_names_never_leave_the_volumes_directory(name):
    with pytest.raises(SandboxError):
        checked_name(name)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("c", ("c", False)), ("c:ro", ("c", True)), ("c:rw", ("c", False)), ("c:z", ("c", False))],
)
def test_volumes_from(text, meaning):
    assert parse_volumes_from(text) == meaning


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "volumes-from specification cannot be an empty string"),
        ("c:bad", "invalid mode: bad"),
        ("c:", "invalid mode: "),
        ("c:ro:x", "invalid mode: ro:x"),
    ],
)
def test_wrong_volumes_from(text, complaint):
    with pytest.raises(SandboxError) as raised:
        parse_volumes_from(text)
    assert str(raised.value) == complaint


def test_a_volume_without_a_name_gets_one_and_is_anonymous():
    assert mounts(volumes=(VolumeMount("", "/x"),)) == {"/x": VolumeMount("new1", "/x", anonymous=True)}
    assert mounts(volumes=(VolumeMount("mine", "/x"),)) == {"/x": VolumeMount("mine", "/x")}


def test_the_images_volumes_are_anonymous():
    assert mounts("/data", "/more/") == {
        "/data": VolumeMount("new1", "/data", anonymous=True),
        "/more": VolumeMount("new2", "/more", anonymous=True),
    }


@pytest.mark.parametrize("path", ["/data", "/data/", "data", "//data", "/x/../data", "../data"])
def test_an_images_volume_is_where_it_would_be_inside(path):
    assert list(mounts(path)) == ["/data"]


@pytest.mark.parametrize("path", ["/", "", "//", "/..", "."])
def test_an_images_volume_is_never_the_root(path):
    with pytest.raises(SandboxError, match="destination can't be '/'"):
        mounts(path)


@pytest.mark.parametrize(
    "wanted",
    [
        {"volumes": (VolumeMount("mine", "/data"),)},
        {"volumes": (VolumeMount("", "/data", as_mount=True),)},
        {"binds": (Bind("/host", "/data"),)},
    ],
)
def test_anonymous_volumes_come_only_where_there_is_nothing_else(wanted):
    explicit = mounts(**wanted)
    assert mounts("/data", **wanted) == explicit
    with_anonymous = {**wanted, "volumes": (VolumeMount("", "/data"), *wanted.get("volumes", ()))}
    assert mounts(**with_anonymous) == explicit


def test_memory_goes_before_an_images_volume():
    assert mounts("/data", tmpfs=(Tmpfs("/data"),)) == {}


def test_the_same_anonymous_volume_twice_is_one():
    assert names("/data", volumes=(VolumeMount("", "/data"), VolumeMount("", "/data"))) == {"/data": "new1"}


def test_a_donors_mounts_are_shared_and_not_filled_again():
    donor = ContainerOptions("image", binds=(Bind("/host", "/h"),), volumes=(VolumeMount("v1", "/v", anonymous=True),))
    assert mounts(donors=[Donor(donor, False)]) == {
        "/h": Bind("/host", "/h"),
        "/v": VolumeMount("v1", "/v", anonymous=True, copies=False),
    }


def test_a_donors_mounts_can_be_read_only_but_never_more_than_the_donors_own():
    donor = ContainerOptions("image", volumes=(VolumeMount("v1", "/a", readonly=True), VolumeMount("v2", "/b")))
    assert [each.readonly for each in mounts(donors=[Donor(donor, True)]).values()] == [True, True]
    assert [each.readonly for each in mounts(donors=[Donor(donor, False)]).values()] == [True, False]


def test_the_containers_own_mounts_go_before_a_donors_and_these_before_the_images():
    donor = ContainerOptions("image", volumes=(VolumeMount("theirs", "/a"), VolumeMount("both", "/b")))
    found = names("/b", "/c", donors=[Donor(donor, False)], volumes=(VolumeMount("mine", "/a"),))
    assert found == {"/a": "mine", "/b": "both", "/c": "new1"}


def test_a_later_donor_goes_before_an_earlier_one():
    first, second = (ContainerOptions("image", volumes=(VolumeMount(name, "/a"),)) for name in ("v1", "v2"))
    assert names(donors=[Donor(first, False), Donor(second, False)]) == {"/a": "v2"}


def test_an_image_cannot_ask_for_more_than_a_container_takes():
    with pytest.raises(SandboxError, match="101 mounts are too many"):
        mounts(*(f"/v{number}" for number in range(101)))

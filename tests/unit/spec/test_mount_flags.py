"""The text of ``-v``, ``--mount`` and ``--tmpfs`` as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import mount_flags
from kernel_sandbox.spec.options import Bind, Tmpfs, VolumeMount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a:/b", Bind("/a", "/b")),
        ("/a:/b:rw", Bind("/a", "/b", mode="rw")),
        ("/a b:/c d:ro", Bind("/a b", "/c d", readonly=True, mode="ro")),
        ("/a:/b/", Bind("/a", "/b")),
        ("/a://b/./c/../d", Bind("/a", "/b/d")),
        ("/a:/b:z,ro,rslave", Bind("/a", "/b", readonly=True, mode="z,ro,rslave", propagation="rslave")),
        ("vol:/b", VolumeMount("vol", "/b")),
        ("vol:/b:ro,nocopy", VolumeMount("vol", "/b", readonly=True, copies=False, mode="ro,nocopy")),
        ("/b", VolumeMount("", "/b", anonymous=True)),
    ],
)
def test_volumes(text, mount):
    assert mount_flags.parse_volume(text) == mount


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "invalid empty volume spec"),
        ("/a:", "empty section between colons"),
        (":/b", "empty section between colons"),
        ("/a:/b:ro:rw", "too many colons"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/x/..", "destination can't be '/'"),
        ("/", "destination can't be '/'"),
        ("b", "mount path must be absolute"),
        ("/a:b", "invalid mount path: 'b' mount path must be absolute"),
        ("/a:/b:x", "invalid mode: x"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:nocopy", "field VolumeOptions must not be specified"),
        ("vol:/b:shared", "field BindOptions must not be specified"),
        ("vol:ro", "invalid volume specification: 'vol:ro'"),
    ],
)
def test_bad_volumes(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        mount_flags.parse_volume(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,source=/s,target=/t", Bind("/s", "/t", as_mount=True)),
        ("type=bind,src=/s/,dst=/t/,ro", Bind("/s", "/t", readonly=True, as_mount=True)),
        ("type=bind,src=/s,destination=/t,readonly=false", Bind("/s", "/t", as_mount=True)),
        ('type=bind,"source=/a,b",target=/t', Bind("/a,b", "/t", as_mount=True)),
        (
            "type=bind,source=/s,target=/t,bind-propagation=rslave",
            Bind("/s", "/t", as_mount=True, propagation="rslave"),
        ),
        ("source=v1,target=/t", VolumeMount("v1", "/t", as_mount=True)),
        ("target=/t", VolumeMount("", "/t", anonymous=True, as_mount=True)),
        ("TYPE=volume,source=v1,target=/t,volume-nocopy", VolumeMount("v1", "/t", copies=False, as_mount=True)),
        (
            "source=v1,target=/t,volume-label=a=b,volume-label=c=d",
            VolumeMount("v1", "/t", as_mount=True, labels={"a": "b", "c": "d"}),
        ),
        ("type=tmpfs,target=/t", Tmpfs("/t", as_mount=True)),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
            Tmpfs("/t", ("size=1048576", "mode=1770"), as_mount=True),
        ),
    ],
)
def test_mounts(text, mount):
    assert mount_flags.parse_mount(text) == mount


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "^EOF$"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("foo=bar,target=/x", "unexpected key 'foo' in 'foo=bar'"),
        ("type=bind,source=/tmp", "target is required"),
        ("type=,target=/x", "type is required"),
        ("readonly=x,target=/x", "invalid value for readonly: x"),
        ("type=bogus,target=/x", 'invalid mount config for type "bogus": mount type unknown'),
        ("type=bind,target=/x", "field Source must not be empty"),
        ("type=bind,source=tmp,target=/x", "invalid mount path: 'tmp' mount path must be absolute"),
        ("type=bind,source=/tmp,target=x", "invalid mount path: 'x' mount path must be absolute"),
        ("type=bind,source=/tmp,target=/", "destination can't be '/'"),
        ("type=bind,source=/tmp,target=/x,bind-propagation=bogus", "invalid propagation mode: bogus"),
        ("type=bind,source=/tmp,target=/x,volume-nocopy", r"cannot mix 'volume-\*' options with mount type 'bind'"),
        ("type=tmpfs,target=/x,bind-propagation=shared", r"cannot mix 'bind-\*' options with mount type 'tmpfs'"),
        ("type=volume,target=/x,tmpfs-size=1m", r"cannot mix 'tmpfs-\*' options with mount type 'volume'"),
        ("type=tmpfs,target=/x,source=y", "field Source must not be specified"),
        ("type=tmpfs,target=/x,tmpfs-size=x", "invalid value for tmpfs-size: x"),
        ("type=tmpfs,target=/x,tmpfs-mode=8", "invalid value for tmpfs-mode: 8"),
        ('type=bind,"source=/tmp,target=/x', "parse error on line 1"),
        ('type=b"ind,target=/x', 'bare " in non-quoted-field'),
        ("target=/x,readonly", "must not set ReadOnly mode when using anonymous volumes"),
        ("source=v,target=/x,volume-driver=bogus", "volume driver"),
    ],
)
def test_bad_mounts(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        mount_flags.parse_mount(text)


@pytest.mark.parametrize(
    ("text", "tmpfs"),
    [
        ("/t", Tmpfs("/t")),
        ("/t/../u", Tmpfs("/u")),
        ("/t:size=1m,mode=700,exec", Tmpfs("/t", ("size=1m", "mode=700", "exec"))),
        ("/t:", Tmpfs("/t")),
    ],
)
def test_memory(text, tmpfs):
    assert mount_flags.parse_tmpfs(text) == tmpfs


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", "mount path must be absolute"),
        ("/", "destination can't be '/'"),
        ("/x:bogus", r'invalid tmpfs option \["bogus"\]'),
    ],
)
def test_bad_memory(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        mount_flags.parse_tmpfs(text)


@given(st.lists(st.text(st.characters(exclude_characters='"\0\n\r,')), min_size=1).filter(lambda each: each != [""]))
def test_fields_of_csv_come_back(fields):
    quoted = ",".join(f'"{field}"' for field in fields)
    assert mount_flags.split_csv(quoted) == tuple(fields)
    assert mount_flags.split_csv(",".join(fields)) == tuple(fields)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    for parse in (mount_flags.parse_volume, mount_flags.parse_mount, mount_flags.parse_tmpfs):
        try:
            parse(text)
        except UsageError:
            continue

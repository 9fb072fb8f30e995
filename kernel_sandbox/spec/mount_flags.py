"""The text of ``-v``, ``--mount`` and ``--tmpfs`` → values, in Docker's grammars and with its complaints.

::

    -v       = [source ":"] target [":" word *("," word)]      a source with a / in front is the host's
    --mount  = field *("," field), a line of CSV (RFC 4180);  field = key ["=" value]
    --tmpfs  = target [":" option *("," option)]

Not here: which volumes and host directories exist (``volumes``, the engine).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

import msgspec

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.options import Bind, Tmpfs, VolumeMount
from kernel_sandbox.spec.units import parse_bytes

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_WORDS = (
    ("ro", "rw"),
    PROPAGATIONS,
    ("z", "Z"),
    ("nocopy",),
    ("consistent", "cached", "delegated", "default"),
)
_TMPFS_FLAGS = frozenset(
    ("ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "atime", "noatime", "diratime", "nodiratime",
     "relatime", "norelatime", "strictatime", "nostrictatime", "sync", "async", "dirsync", "mand", "nomand", "loud",
     "silent", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable", "remount",
     "bind", "rbind", "iversion", "noiversion", "defaults")
)  # fmt: skip
_TMPFS_SETTINGS = frozenset(("mode", "uid", "gid", "nr_inodes", "nr_blocks", "size", "mpol"))
_TRUE = frozenset(("", "1", "true"))
_BOOLEANS = _TRUE | {"0", "false"}
_SYNONYMS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_KEYS = frozenset(
    ("type", "source", "target", "readonly", "consistency", "bind-propagation", "bind-nonrecursive", "bind-recursive",
     "volume-nocopy", "volume-label", "volume-driver", "volume-opt", "volume-subpath", "tmpfs-size", "tmpfs-mode")
)  # fmt: skip


def check_volume(text: str) -> None:
    """What Docker's client would refuse of ``-v``'s value."""
    sections = text.split(":")
    if not text:
        raise UsageError("invalid empty volume spec")
    if "" in sections:
        raise UsageError(f"invalid spec: {text}: empty section between colons")
    if len(sections) > 3:
        raise UsageError(f"invalid spec: {text}: too many colons")


def parse_volume(text: str) -> Bind | VolumeMount:
    """``-v``'s value."""
    check_volume(text)
    sections = text.split(":")
    if len(sections) == 1:
        _check_target(text, text, "volume")
        return VolumeMount("", cleaned(text), anonymous=True)
    source, target, *modes = sections
    mode = modes[0] if modes else ""
    words = _words(mode)
    if not modes and _are_words(target):
        raise UsageError(f"invalid volume specification: '{text}'")
    readonly = "ro" in words
    propagation = next((word for word in words if word in PROPAGATIONS), "")
    if source.startswith("/"):
        _check_target(text, target, "bind")
        if "nocopy" in words:
            raise _unmountable(text, "bind", "field VolumeOptions must not be specified")
        return Bind(cleaned(source), cleaned(target), readonly, mode=mode, propagation=propagation)
    _check_target(text, target, "volume")
    if propagation:
        raise _unmountable(text, "volume", "field BindOptions must not be specified")
    return VolumeMount(source, cleaned(target), readonly, copies="nocopy" not in words, mode=mode)


def cleaned(path: str) -> str:
    """An absolute path without detours, as Go's filepath.Clean gives it."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _words(mode: str) -> tuple[str, ...]:
    words = tuple(mode.split(",")) if mode else ()
    if not _are_words(mode):
        raise UsageError(f"invalid mode: {mode}")
    return words


def _are_words(mode: str) -> bool:
    """Whether these are words of a mode, no two of one kind."""
    words = mode.split(",") if mode else []
    kinds = [kind for word in words for kind, own in enumerate(_WORDS) if word in own]
    return len(kinds) == len(words) == len(set(kinds))


def _unmountable(text: str, type_: str, reason: str) -> UsageError:
    return UsageError(f"invalid volume specification: '{text}': invalid mount config for type \"{type_}\": {reason}")


def _check_target(text: str, target: str, type_: str) -> None:
    if reason := _bad_target(target):
        raise _unmountable(text, type_, reason)


def _bad_target(target: str) -> str:
    """What is wrong with a mount point, empty if nothing."""
    if not target.startswith("/"):
        return f"invalid mount path: '{target}' mount path must be absolute"
    return "invalid specification: destination can't be '/'" if cleaned(target) == "/" else ""


def parse_tmpfs(text: str) -> Tmpfs:
    """``--tmpfs``'s value."""
    target, _, options = text.partition(":")
    if reason := _bad_target(target):
        raise UsageError(reason)
    words = tuple(filter(None, options.split(",")))
    for word in words:
        name, equals, _ = word.partition("=")
        if word not in _TMPFS_FLAGS and not (equals and name in _TMPFS_SETTINGS):
            raise UsageError(f'invalid tmpfs option ["{word}"]')
    return Tmpfs(cleaned(target), words)


def check_mount(text: str) -> None:
    """What Docker's client would refuse of ``--mount``'s value."""
    _fields(text)


def parse_mount(text: str) -> Bind | VolumeMount | Tmpfs:
    """``--mount``'s value. Whether a bind's source exists is not looked at."""
    fields = _fields(text)
    return _checked(_mount(fields.get("type", "volume"), fields))


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for field in split_csv(text):
        key, equals, value = field.partition("=")
        key = _SYNONYMS.get(key.lower(), key.lower())
        if not equals and key not in ("readonly", "volume-nocopy", "bind-nonrecursive"):
            raise UsageError(f"invalid field '{field}' must be a key=value pair")
        if key not in _KEYS:
            raise UsageError(f"unexpected key '{key}' in '{field}'")
        if key in ("readonly", "volume-nocopy", "bind-nonrecursive") and value.lower() not in _BOOLEANS:
            raise UsageError(f"invalid value for {key}: {value}")
        if key == "volume-label" and key in found:
            value = f"{found[key]}\n{value}"
        found[key] = value
    _check_fields(found)
    return found


def _check_fields(fields: dict[str, str]) -> None:
    type_ = fields.get("type", "volume")
    if not type_:
        raise UsageError("type is required")
    if not fields.get("target"):
        raise UsageError("target is required")
    for kind in ("volume", "bind", "tmpfs"):
        if kind != type_ and any(key.startswith(f"{kind}-") for key in fields):
            raise UsageError(f"cannot mix '{kind}-*' options with mount type '{type_}'")
    if not re.fullmatch("[0-7]{1,5}", fields.get("tmpfs-mode", "0")):
        raise UsageError(f"invalid value for tmpfs-mode: {fields['tmpfs-mode']}")
    try:
        parse_bytes(fields.get("tmpfs-size", "0"))
    except UsageError:
        raise UsageError(f"invalid value for tmpfs-size: {fields['tmpfs-size']}") from None


def split_csv(text: str) -> tuple[str, ...]:
    """The fields of one line of CSV (RFC 4180), as Go's encoding/csv reads it."""
    if not text:
        raise UsageError("EOF")
    fields, position = [], 0
    while True:
        if text.startswith('"', position):
            match = re.compile(r'"((?:[^"]|"")*)"(?=,|\Z)').match(text, position)
            if not match:
                raise UsageError(f'parse error on line 1, column {len(text)}: extraneous or missing " in quoted-field')
            fields.append(match[1].replace('""', '"'))
        else:
            match = re.compile(r"([^,]*)").match(text, position)
            assert match
            if '"' in match[1]:
                column = position + match[1].index('"') + 1
                raise UsageError(f'parse error on line 1, column {column}: bare " in non-quoted-field')
            fields.append(match[1])
        if match.end() == len(text):
            return tuple(fields)
        position = match.end() + 1


def _mount(type_: str, fields: dict[str, str]) -> Bind | VolumeMount | Tmpfs:
    source, target = fields.get("source", ""), fields["target"]
    readonly = "readonly" in fields and fields["readonly"].lower() in _TRUE
    match type_:
        case "bind":
            propagation = fields.get("bind-propagation", "")
            if fields.get("bind-nonrecursive", "0").lower() in _TRUE or fields.get("bind-recursive") == "disabled":
                raise UsageError("a bind is recursive: what is mounted below its source is seen, too")
            return Bind(source, target, readonly, as_mount=True, propagation=propagation)
        case "tmpfs":
            if source:
                raise UsageError('invalid mount config for type "tmpfs": field Source must not be specified')
            return Tmpfs(target, (*_tmpfs_options(fields), *(("ro",) if readonly else ())), as_mount=True)
        case "volume":
            if fields.get("volume-driver", "local") != "local" or "volume-opt" in fields or "volume-subpath" in fields:
                raise UsageError("the only volume driver is local, without options: a volume is a directory")
            labels = dict(each.partition("=")[::2] for each in fields.get("volume-label", "").split("\n") if each)
            copies = fields.get("volume-nocopy", "0").lower() not in _TRUE
            return VolumeMount(source, target, readonly, not source, copies, as_mount=True, labels=labels)
        case _:
            raise UsageError(f'invalid mount config for type "{type_}": mount type unknown')


def _tmpfs_options(fields: dict[str, str]) -> Iterable[str]:
    if "tmpfs-size" in fields:
        yield f"size={parse_bytes(fields['tmpfs-size'])}"
    if "tmpfs-mode" in fields:
        yield f"mode={fields['tmpfs-mode']}"


def _checked(mount: Bind | VolumeMount | Tmpfs) -> Bind | VolumeMount | Tmpfs:
    """With clean paths."""
    type_ = {Bind: "bind", VolumeMount: "volume", Tmpfs: "tmpfs"}[type(mount)]
    reason = _bad_target(mount.target) or (_bad_bind(mount) if isinstance(mount, Bind) else "")
    if isinstance(mount, VolumeMount) and mount.anonymous and mount.readonly:
        reason = "must not set ReadOnly mode when using anonymous volumes"
    if reason:
        raise UsageError(f'invalid mount config for type "{type_}": {reason}')
    clean = msgspec.structs.replace(mount, target=cleaned(mount.target))
    return msgspec.structs.replace(clean, source=cleaned(clean.source)) if isinstance(clean, Bind) else clean


def _bad_bind(bind: Bind) -> str:
    """What is wrong with a host directory's mount, empty if nothing."""
    if not bind.source:
        return "field Source must not be empty"
    if bind.propagation and bind.propagation not in PROPAGATIONS:
        return f"invalid propagation mode: {bind.propagation}"
    return "" if bind.source.startswith("/") else f"invalid mount path: '{bind.source}' mount path must be absolute"

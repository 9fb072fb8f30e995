"""Platforms: what ``--platform`` asks for, and which of an index's manifests it means.

Here: containerd's grammar of specifiers, its normal form of Go's names, and its order of preference among what a
platform can run (image-spec image-index.md, "Platform Variants"). Not here: what this machine is.

    specifier  :=  os | architecture | os '/' architecture ['/' variant]
"""

import re
from collections.abc import Iterable

import msgspec

from kernel_sandbox.errors import NotFound, UsageError
from kernel_sandbox.spec.image import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Platform

_COMPONENT = "[A-Za-z0-9_.-]+"
_SYSTEMS = frozenset(
    ("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd",
     "openbsd", "plan9", "solaris", "wasip1", "windows", "zos")
)  # fmt: skip
_ARCHITECTURES = frozenset(
    ("386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64",
     "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc",
     "sparc64", "wasm")
)  # fmt: skip
_SYNONYMS = {
    "i386": ("386", ""), "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"), "armel": ("arm", "v6"),
}  # fmt: skip
_BASE_VARIANTS = {"386": None, "amd64": "v1", "arm64": "v8"}
"""The variant that each architecture means without one; None where it has no variants."""
_OLDER_VARIANTS = {
    "amd64": ("v4", "v3", "v2", ""),
    "arm64": ("v9", ""),
    "arm": ("v8", "v7", "v6", "v5"),
}
"""Each runs what is for itself or one further right."""
_ELDER_KIN = {"amd64": ("386", ""), "arm64": ("arm", "v8")}
"""The architecture of 32 bits whose programs run on the one of 64, after its own."""
_SHOWN = 10
_SHOWN_LENGTH = 60


def parse(text: str, machine: Platform) -> Platform:
    """The platform that a specifier means; what it leaves out is the *machine*'s. Raises UsageError."""
    if "*" in text:
        raise UsageError(f'"{text}": wildcards not yet supported: invalid argument')
    parts = text.split("/")
    for part in parts:
        if not re.fullmatch(_COMPONENT, part):
            raise UsageError(
                f'"{part}" is an invalid component of "{text}": '
                f'platform specifier component must match "^{_COMPONENT}$": invalid argument'
            )
    if len(parts) > 3:
        raise UsageError(f'"{text}": cannot parse platform specifier: invalid argument')
    if len(parts) == 1:
        return _parse_single(text, machine)
    return normalized(Platform(os=parts[0], architecture=parts[1], variant="".join(parts[2:])))


def _parse_single(text: str, machine: Platform) -> Platform:
    """An operating system for the machine's processor, or a processor under the machine's system."""
    system = normalized(Platform(os=text, architecture=machine.architecture, variant=machine.variant))
    if system.os in _SYSTEMS:
        return system
    processor = normalized(Platform(os=machine.os, architecture=text))
    if processor.architecture in _ARCHITECTURES:
        return processor
    raise UsageError(f'"{text}": unknown operating system or architecture: invalid argument')


def normalized(platform: Platform) -> Platform:
    """The platform under the one name of each system, architecture and variant."""
    system = platform.os.lower()
    architecture, variant = platform.architecture.lower(), platform.variant.lower()
    if architecture in _SYNONYMS:
        architecture, implied = _SYNONYMS[architecture]
        variant = implied or variant
    if variant.isdecimal():
        variant = f"v{variant}"
    base = _BASE_VARIANTS.get(architecture, "")
    if base is None or variant == base:
        variant = ""
    if architecture == "arm":
        variant = variant or "v7"
    return msgspec.structs.replace(
        platform, os="darwin" if system == "macos" else system, architecture=architecture, variant=variant
    )


def matches(wanted: Platform, actual: Platform) -> bool:
    """Whether what is made for *actual* is as good as for *wanted*, which may name no variant of its own."""
    return _rank(wanted, actual) is not None


def choose(offered: Iterable[Descriptor], wanted: Platform) -> Descriptor:
    """The manifest, or index of them, that suits the platform best; one for no platform suits any, but last.

    Raises NotFound, which names what is offered.
    """
    images = [each for each in offered if each.media_type in (*MANIFEST_TYPES, *INDEX_TYPES)]
    ranked = [(_offered_rank(wanted, each), number) for number, each in enumerate(images)]
    suited = [(rank, number) for rank, number in ranked if rank is not None]
    if suited:
        return images[min(suited)[1]]
    raise NotFound(f"no matching manifest for {wanted} in the manifest list entries: {_told(images)}")


def _offered_rank(wanted: Platform, offered: Descriptor) -> int | None:
    if offered.platform is None:
        return len(_preferences(wanted))
    return _rank(wanted, offered.platform)


def _rank(wanted: Platform, actual: Platform) -> int | None:
    """How far *actual* is from what is wanted; None where it does not run there."""
    actual = normalized(actual)
    names = (actual.os, actual.architecture, actual.variant)
    return next((rank for rank, each in enumerate(_preferences(wanted)) if each == names), None)


def _preferences(wanted: Platform) -> tuple[tuple[str, str, str], ...]:
    """What the platform runs, the best first: system, architecture, variant."""
    wanted = normalized(wanted)
    found = list(_from_variant(wanted.architecture, wanted.variant))
    if wanted.architecture in _ELDER_KIN:
        found += _from_variant(*_ELDER_KIN[wanted.architecture])
    return tuple((wanted.os, architecture, variant) for architecture, variant in found)


def _from_variant(architecture: str, variant: str) -> tuple[tuple[str, str], ...]:
    variants = _OLDER_VARIANTS.get(architecture, ())
    runs = variants[variants.index(variant) :] if variant in variants else (variant,)
    return tuple((architecture, each) for each in runs)


def _told(images: list[Descriptor]) -> str:
    names = list(dict.fromkeys(str(each.platform)[:_SHOWN_LENGTH] for each in images if each.platform))
    known = [name for name in names if name != "unknown/unknown"]  # what is no image, such as an attestation
    if not known:
        return "there is none"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"there are {', '.join(known[:_SHOWN])}{more}"

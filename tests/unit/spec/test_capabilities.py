"""Names, masks and Docker's rules for adding and dropping."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import capabilities


def test_default_is_dockers_mask() -> None:
    assert len(capabilities.DEFAULT) == 14
    assert capabilities.mask(capabilities.DEFAULT) == 0x00000000A80425FB


def test_numbers_are_the_kernels() -> None:
    assert len(capabilities.ALL) == 41
    assert capabilities.NUMBERS["CAP_CHOWN"] == 0
    assert capabilities.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert capabilities.NUMBERS["CAP_SETFCAP"] == 31
    assert capabilities.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40


def test_names_are_the_inverse_of_mask_and_ignore_bits_of_a_newer_kernel() -> None:
    every = capabilities.mask(capabilities.ALL)
    assert capabilities.names(every | 1 << 60) == capabilities.ALL
    assert capabilities.mask(capabilities.names(0x28)) == 0x28


def test_nothing_asked_for_gives_the_default() -> None:
    assert set(capabilities.resolve()) == set(capabilities.DEFAULT)


@pytest.mark.parametrize("spelling", ["net_admin", "NET_ADMIN", "cap_net_admin", "Cap_Net_Admin"])
def test_case_and_prefix_do_not_matter(spelling: str) -> None:
    assert "CAP_NET_ADMIN" in capabilities.resolve(add=[spelling])


def test_drop_takes_away_from_the_default() -> None:
    assert set(capabilities.resolve(drop=["chown"])) == set(capabilities.DEFAULT) - {"CAP_CHOWN"}


def test_drop_all_leaves_only_the_added() -> None:
    assert capabilities.resolve(add=["KILL", "CHOWN"], drop=["all"]) == ("CAP_CHOWN", "CAP_KILL")


def test_add_all_leaves_out_only_the_dropped() -> None:
    assert set(capabilities.resolve(add=["ALL"], drop=["BPF"])) == set(capabilities.ALL) - {"CAP_BPF"}


def test_add_wins_over_drop() -> None:
    assert "CAP_KILL" in capabilities.resolve(add=["KILL"], drop=["KILL"])


def test_unknown_names_are_refused_in_dockers_words() -> None:
    with pytest.raises(UsageError, match=r'^invalid CapAdd: unknown capability: "CAP_FLY"$'):
        capabilities.resolve(add=["fly"])
    with pytest.raises(UsageError, match=r'^invalid CapDrop: unknown capability: "CAP_"$'):
        capabilities.resolve(drop=[""])

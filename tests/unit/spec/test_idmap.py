"""Maps of ids: a range, a single one, subordinate ones."""

from itertools import pairwise

import pytest

from kernel_sandbox.spec import idmap

SUBID = "alice:100000:65536\n1000:300000:10\nbob:500000:65536\nalice:broken:1\nalice:7:0\n\n# comment\n"


def test_ranges_of_two_slots_do_not_meet():
    extents = [idmap.own_range(slot)[0] for slot in (0, 1, 2, idmap.RANGES - 1)]
    for first, second in pairwise(extents):
        assert first.host_id + first.size <= second.host_id
    assert extents[-1].host_id + extents[-1].size <= 2**32 - 1


def test_a_single_id_is_root_alone():
    only = idmap.single(1000)
    assert idmap.document(only) == "0 1000 1\n"
    assert (idmap.maps(only, 0), idmap.maps(only, 1), idmap.last(only)) == (True, False, 0)


@pytest.mark.parametrize(
    ("names", "document", "last"),
    [
        (("alice",), "0 1000 1\n1 100000 65536\n", 65536),
        (("alice", "1000"), "0 1000 1\n1 100000 65536\n65537 300000 10\n", 65546),
        (("carol",), "0 1000 1\n", 0),
    ],
)
def test_subordinate_ids_follow_the_callers_own(names, document, last):
    mappings = idmap.subordinate(1000, names, SUBID)
    assert idmap.document(mappings) == document
    assert idmap.parse(document) == mappings
    assert idmap.last(mappings) == last
    assert idmap.maps(mappings, last) and not idmap.maps(mappings, last + 1)

"""Sizes in binary units, and exact ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.spec.units import binary_size, exact_size, parse_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1_691_353, "1.613MiB"), (25_276_502_016, "23.54GiB")],
)
def test_memory_is_told_in_binary_units(size: int, text: str) -> None:
    assert binary_size(size) == text


@pytest.mark.parametrize(
    ("size", "text"), [(1000, "1000"), (1 << 10, "1k"), (3 << 29, "1536m"), (1 << 30, "1g"), (0, "0")]
)
def test_an_exact_size_takes_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert exact_size(size) == text


@given(st.integers(0, 1 << 62))
def test_an_exact_size_reads_back(size: int) -> None:
    assert parse_bytes(exact_size(size)) == size

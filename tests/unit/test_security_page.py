"""The tests that ``docs/explanation/security.md`` names exist, and every threat that is tested is named there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs/explanation/security.md"


def named() -> set[str]:
    return set(re.findall(r"`(test_\w+(?:\.py)?)`", PAGE.read_text()))


def defined(pattern: str) -> set[str]:
    files = list(TESTS.rglob(pattern))
    functions = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    return functions | {file.name for file in files}


def test_every_test_that_the_page_names_exists():
    assert named() - defined("test_*.py") == set()


def test_every_test_of_a_threat_is_on_the_page():
    assert {name for name in defined("test_threats_*.py") if not name.endswith(".py")} - named() == set()

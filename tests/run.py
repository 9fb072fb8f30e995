"""`make test` and `make lint`: every check and every test, stage after stage, and one line that sums them up.

A stage that fails does not stop the ones after it. As root the tests that make containers are run three
times: as root, as an ordinary user with a single id, and as one with subordinate ids. Several lanes of stages run side
by side; what a stage prints is shown when it has ended. Commands of a kind that has run before are forks of a warm one
(``support.forks``).

    tests/run.py          everything
    tests/run.py lint     the linters, the types and the import contracts
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from support.machine import NoInterpreter, OrdinaryUser, install_missing, ordinary_user
from support.store import SCRATCH
from support.traces import Traces
from support.waiting import run_bounded, wait_until

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
LIMIT = 1100.0  # seconds for one run of pytest
CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))
FAST = ("tests/unit", "tests/property")
INTEGRATION = ("tests/integration",)
NOTEBOOK = ("tests/notebook",)
INTEROP = "tests/interop"
LESSONS = "notebooks"
WORDS = "same_for_every_user"
FORKED = {"KS_FORKED": "1"}


@dataclass(frozen=True)
class Outcome:
    """How many tests passed, failed and were skipped; a check that is not a test counts as one."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


Run = Callable[[list[str], Path], int]


def title(text: str) -> None:
    """Announce a stage."""
    print(f"\n=== {text}", flush=True)


def check(passed: bool, complaint: str) -> Outcome:
    """The outcome of something that is not a test."""
    if not passed:
        print(f"FAILED {complaint}", flush=True)
    return Outcome(passed=1) if passed else Outcome(failed=1)


def lint() -> Outcome:
    """Style, types and the contracts of the architecture."""
    title("lint")
    outcome = Outcome()
    for name, *args in CHECKS:
        status = subprocess.run([BIN / name, *args], cwd=ROOT, stdin=subprocess.DEVNULL).returncode
        outcome += check(status == 0, " ".join((name, *args)))
    return outcome


def tests(what: str, paths: Sequence[str], run: Run, report: Path) -> Outcome:
    """Run pytest on those of ``paths`` that hold tests and show its output; read its count from the JUnit report."""
    output = report.with_suffix(".log")
    outcome = _tests(paths, run, report, output)
    shown = output.read_text(errors="replace") if output.exists() else ""
    print(f"\n=== {what}\n{shown}", end="", flush=True)
    return outcome


def _tests(paths: Sequence[str], run: Run, report: Path, output: Path) -> Outcome:
    present = [path for path in paths if holds_tests(ROOT / path)]
    if not present:
        return check(False, f"no tests in {', '.join(paths)}")
    options = ["--nbval-lax"] if LESSONS in present else []
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *options, f"--junitxml={report}", *present]
    what = f"pytest {' '.join(present)}"
    try:
        status = run(command, output)
    except subprocess.TimeoutExpired:
        return check(False, f"{what}: not done after {LIMIT:g} s")
    if not report.exists():
        return check(False, f"{what}: ended with status {status} and no report")
    counted = count(report)
    return counted if counted.failed or status == 0 else counted + check(False, f"{what}: status {status}")


def holds_tests(directory: Path) -> bool:
    """Whether there is anything for pytest in ``directory``."""
    return any(path for pattern in ("test_*.py", "*.ipynb") for path in directory.rglob(pattern))


def count(report: Path) -> Outcome:
    """Add up the suites of a JUnit report."""
    outcome = Outcome()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total, failures, errors, skipped = (
            int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
        )
        failed = failures + errors
        outcome += Outcome(max(total - failed - skipped, 0), failed, skipped)
    return outcome


def ourselves(scratch: Path, arguments: list[str], output: Path) -> int:
    """Run Python as the user who called make; its stores and temporary files go below ``scratch``."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TMPDIR": str(scratch), **FORKED}
    with output.open("wb") as file:
        return run_bounded([sys.executable, *arguments], LIMIT, cwd=ROOT, env=environment, stdout=file, stderr=file)


def as_another(
    user: OrdinaryUser, ids: str, environment: Mapping[str, str], stages: Mapping[str, Sequence[str]], but: str
) -> Iterator[Outcome]:
    """The tests and lessons that make containers, as an ordinary user, without those that are marked so."""

    def run(arguments: list[str], output: Path) -> int:
        selected = [*arguments, "-m", f"not ({but})"]
        with output.open("wb") as file:
            return user.run([user.python, *selected], LIMIT, {**environment, **FORKED}, file)

    for what, paths in stages.items():
        report = user.directory / "reports" / f"{what} with {ids}.xml"
        yield tests(f"{what}, as an ordinary user with {ids}", paths, run, report)
    yield nothing("processes of the ordinary user are left", user.processes)


def as_others() -> Iterator[Outcome]:
    """First with one id and without a login session, then with a range of ids and in one."""
    try:
        with ordinary_user(ROOT, "test") as user:
            alone = {"containers": INTEGRATION, "lessons": (LESSONS,)}
            yield from as_another(user, "a single id", {}, alone, f"{WORDS} or same_without_root")
            user.add_subordinate_ids()
            yield from as_another(
                user,
                "subordinate ids",
                user.session(),
                {"containers": (*INTEGRATION, *NOTEBOOK)},
                f"{WORDS} or same_with_more_ids",
            )
    except (NoInterpreter, subprocess.CalledProcessError, OSError) as error:
        yield check(False, f"as an ordinary user: {error}")


def everything(scratch: Path) -> Iterator[Outcome]:
    """Each stage's outcome, as it ends."""
    root = os.geteuid() == 0
    run = partial(ourselves, scratch)
    if root:
        title("tools")
        print(install_missing(), flush=True)
    yield lint()
    before = Traces.of(str(scratch))
    who = "root" if root else "you"
    containers = (partial(tests, f"containers, as {who}", INTEGRATION, run, scratch / "containers.xml"),)
    others = (
        partial(tests, "unit and property tests", FAST, run, scratch / "fast.xml"),
        partial(tests, f"notebooks, as {who}", NOTEBOOK, run, scratch / "notebooks.xml"),
        partial(tests, "lessons", (LESSONS,), run, scratch / "lessons.xml"),
        partial(tests, "beside other engines", (INTEROP,), run, scratch / "interop.xml"),
    )
    yield from side_by_side([in_turn(containers), in_turn(others), *([as_others()] if root else [])])
    if not root:
        print("\nNot run: the same as root, and as a user with another id map. `make test` as root runs all.")
    title("what is left on the machine")
    yield nothing("left behind", lambda: Traces.of(str(scratch)).since(before))


def in_turn(stages: Iterable[Callable[[], Outcome]]) -> Iterator[Outcome]:
    """One lane: a stage after the other."""
    for stage in stages:
        yield stage()


def side_by_side(lanes: Sequence[Iterator[Outcome]]) -> Iterator[Outcome]:
    """The sum of each lane; they run at the same time."""
    with ThreadPoolExecutor(len(lanes)) as pool:
        yield from pool.map(lambda lane: sum(lane, Outcome()), lanes)


def nothing(complaint: str, remains: Callable[[], Sequence[object]]) -> Outcome:
    """Whether ``remains`` gets empty within a few seconds."""
    try:
        wait_until(lambda: not remains(), interval=0.2)
    except TimeoutError:
        return check(False, "\n  ".join((f"{complaint}:", *map(str, remains()))))
    return check(True, complaint)


def terminated(*_: object) -> NoReturn:
    """Unwind on SIGTERM as on an interrupt, so that the user, the stores and the daemons go."""
    raise SystemExit(143)


def hear_signals() -> None:
    """What nohup(1) or a shell's background made us ignore, the programs under test would ignore, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def main() -> int:
    """Run what is asked, print the sum, and return the exit status."""
    signal.signal(signal.SIGTERM, terminated)
    hear_signals()
    os.umask(0o022)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ks-", dir=SCRATCH, ignore_cleanup_errors=True) as scratch:
        stages = iter((lint(),)) if sys.argv[1:] == ["lint"] else everything(Path(scratch))
        total = Outcome()
        for outcome in stages:
            total += outcome
    print(f"\n{time.monotonic() - started:.0f} s\n{total}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")

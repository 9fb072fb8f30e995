"""Types that several threads decode to for the first time, in a process of its own: what goes wrong is a crash."""

import subprocess
import sys

MANY_THREADS = """
import sys, threading
import msgspec
from kernel_sandbox.spec.decoding import decodable

sys.setswitchinterval(1e-6)
threads = 4
data = msgspec.msgpack.encode({"parts": [{"names": ["a"]}], "part": {"names": []}})
for _ in range(300):
    part = msgspec.defstruct("Part", [("names", tuple[str, ...])])
    whole = msgspec.defstruct("Whole", [("parts", tuple[part, ...]), ("part", part)])
    barrier = threading.Barrier(threads)

    def meet():
        barrier.wait(10)
        assert msgspec.msgpack.decode(data, type=decodable(whole)).parts[0].names == ("a",)

    met = [threading.Thread(target=meet) for _ in range(threads)]
    for each in met:
        each.start()
    for each in met:
        each.join()
print("met")
"""


def test_threads_may_meet_a_type_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_THREADS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "met\n"), done.stderr

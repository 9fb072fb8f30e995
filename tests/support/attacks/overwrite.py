#!/proc/self/exe
"""Asks execve(2) for the program that starts containers, as its own interpreter, and tries to change that file.

An image names this file as its entrypoint (CVE-2019-5736). While the program runs it cannot be written, but its mode
could be changed: so it is changed to what it is.
"""

import os
import stat

program = os.open("/proc/self/exe", os.O_PATH)
path = f"/proc/self/fd/{program}"
print(os.readlink("/proc/self/exe").partition(":")[0])
try:
    os.chmod(path, stat.S_IMODE(os.stat(program).st_mode))
    print("changed")
except OSError:
    print("refused")

"""The kernel's interface: one tiny function per system call, and nothing that decides anything."""

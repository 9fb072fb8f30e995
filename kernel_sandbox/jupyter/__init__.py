"""Jupyter's front ends of the engine: a kernel that runs inside a container of its own."""

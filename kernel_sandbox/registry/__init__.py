"""Registries over HTTP: a client of the distribution specification, and whose name it asks in.

Not here: what becomes of what is fetched. Nothing here knows images, a store or containers.
"""

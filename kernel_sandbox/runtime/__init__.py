"""The kernel's side: bundles in, processes out. Nothing here knows what an image is."""

"""Images in archives and directories of other tools: their members, what these mean, and how they are written."""

"""Choice of the scenes and references that each cell reads, and their order."""

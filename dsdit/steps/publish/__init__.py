"""Publishing: everything that follows from the shards."""

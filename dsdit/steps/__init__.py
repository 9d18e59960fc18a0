"""One step on one job: read, compute, write the whole shard, return the receipt, which the caller writes."""

"""One step on one job: read, compute, write the whole shard, return the receipt that the caller keeps."""

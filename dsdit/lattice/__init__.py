"""The lattices of tiles, cells, shards and jobs, in plain integers, and the blending of tiles."""

"""The lattices of tiles, cells, shards and jobs: plain integer arithmetic."""

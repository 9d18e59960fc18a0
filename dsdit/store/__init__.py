"""Storage: objects, sharded Zarr arrays and Parquet tables, on disk or in an object store."""

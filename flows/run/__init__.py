"""Running a plan on Dask."""

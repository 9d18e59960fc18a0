"""Prefect flows over `catalogs` and `dsdit`: requests, clusters, the wavefront of jobs, and the command."""

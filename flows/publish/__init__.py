"""Publishing a run and cleaning up after it."""

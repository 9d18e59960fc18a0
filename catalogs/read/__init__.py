"""Reading: pixels of remote files onto a grid, exactly and within limits."""

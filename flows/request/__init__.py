"""The request: what a person writes."""

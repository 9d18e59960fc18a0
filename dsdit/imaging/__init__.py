"""Radiometry, the sensor operator and image registration: plain arithmetic on arrays."""

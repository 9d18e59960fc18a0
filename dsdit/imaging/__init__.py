"""Radiometry, the sensor operator, its MTF, and registration: plain arithmetic on arrays."""

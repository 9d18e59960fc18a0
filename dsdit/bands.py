"""The bands that the network knows, in the order in which every array holds them."""

from typing import Literal

BandName = Literal["red", "green", "blue"]
BANDS: tuple[BandName, ...] = ("red", "green", "blue")
"""Order of the `band` axis everywhere. Other bands are refused at the door; the axis itself stays open."""

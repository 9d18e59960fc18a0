"""The bands that the network knows, in the order in which every array holds them."""

BANDS = ("red", "green", "blue")
"""Order of the `band` axis everywhere. Other bands are refused at the door; the axis itself stays open."""

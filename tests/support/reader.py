"""A program that reads a mosaic all the time, and prints what it saw: a digest of its pixels, and their plan."""

from __future__ import annotations

_PROGRAM = """
import hashlib, os, sys, time
{imports}

def state(place, *version):
    tree = {opened}
    digest = hashlib.sha256(tree["0/sr"].values.tobytes())
    time.sleep(0.05)
    digest.update(tree["0/status"].values.tobytes())
    digest.update(tree["1/sr"].values.tobytes())
    return digest.hexdigest() + " " + tree.attrs["plan"]

if __name__ == "__main__":
    while True:
        try:
            print(state(os.path.realpath(sys.argv[1])), flush=True)
        except Exception as error:
            print("error:", repr(error), flush=True)
"""
_OPTIONS = "mask_and_scale=False, cache=False"
PLAIN_READER = _PROGRAM.format(
    imports="import xarray as xr",
    opened=f'xr.open_datatree(place, engine="zarr", consolidated=False, {_OPTIONS})',
)
"""Opens the location of a mosaic with xarray alone."""
READER = _PROGRAM.format(imports="import dsdit", opened=f"dsdit.open_mosaic(place, *version, {_OPTIONS})")
"""Opens the mosaic of an output, in whichever store."""

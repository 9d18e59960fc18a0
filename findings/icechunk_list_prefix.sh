#!/usr/bin/env bash
# icechunk 1.1.21 with zarr 3.1.6: listing the chunks of an array by prefix is refused, where other zarr stores list them.
#
# zarr's LocalStore and MemoryStore answer `list_prefix("a/c/")` with the chunks of array `a`. icechunk's store raises
# "bad key prefix". Whoever walks a store by prefixes of chunks (to count, to verify, to copy a part) meets it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet icechunk==1.1.21 zarr==3.1.6
"$work/venv/bin/python" - "$work" <<'PYTHON'
import asyncio
import sys

import icechunk
import numpy as np
import zarr
from zarr.storage import LocalStore, MemoryStore


def fill(store):
    array = zarr.open_group(store, mode="w").create_array("a", shape=(4,), chunks=(2,), dtype="u1")
    array[:] = np.arange(1, 5, dtype="u1")


async def listed(store, prefix):
    return sorted([key async for key in store.list_prefix(prefix)])


print(sys.version.split()[0], "icechunk", icechunk.__version__, "zarr", zarr.__version__)
for store in (MemoryStore(), LocalStore(f"{sys.argv[1]}/plain.zarr")):
    fill(store)
    keys = asyncio.run(listed(store, "a/c/"))
    print(type(store).__name__, keys)
    assert keys == ["a/c/0", "a/c/1"], keys
session = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
fill(session.store)
try:
    keys = asyncio.run(listed(session.store, "a/c/"))
except icechunk.IcechunkError as error:
    message = str(error)
    print("IcechunkStore", next(line for line in message.splitlines() if "bad key prefix" in line).strip())
else:
    raise SystemExit(f"this has changed: icechunk lists {keys}")
PYTHON
echo "as described"

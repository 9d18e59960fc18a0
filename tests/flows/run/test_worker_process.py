"""Process-wide state: a worker's is set by one function, and importing the packages changes none."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from typing import Any

import pytest
from rasterio.errors import NotGeoreferencedWarning

from dsdit.store.arrays import _RUN
from dsdit.store.options import storage_settings, use_storage
from flows.run import worker_process
from flows.run.worker_process import ONE_THREAD, set_up_worker
from tests.support.commands import ROOT


def test_a_worker_is_set_up_within_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    before: dict[str, Any] = storage_settings()
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "4")
    worker_process._set_up_process.cache_clear()
    logging.getLogger("distributed.worker").setLevel(logging.INFO)
    try:
        with set_up_worker({"requester_pays": True}, "run 1"):
            assert storage_settings() == {"requester_pays": True} and _RUN.get() == "run 1"
            assert {name: os.environ[name] for name in ONE_THREAD} == ONE_THREAD
            assert logging.getLogger("distributed.worker").level == logging.ERROR
            with set_up_worker(None, "run 2"):
                assert storage_settings() == {} and _RUN.get() == "run 2"
        assert _RUN.get() == ""
    finally:
        use_storage(before)


IMPORTS = """
import gc, importlib, logging, os, pkgutil, signal, sys, warnings
import dsdit, catalogs, flows
names = [m.name for p in (dsdit, catalogs, flows) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
names = [name for name in names if not name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
import dask, torch
def state():
    loggers = {n: (x.level, len(x.filters), len(x.handlers)) for n, x in logging.root.manager.loggerDict.items()
               if isinstance(x, logging.Logger)}
    return (dict(os.environ), list(warnings.filters), loggers, gc.get_threshold(), gc.get_freeze_count(),
            repr(dask.config.config), torch.get_num_threads(), signal.getsignal(signal.SIGTERM),
            signal.getsignal(signal.SIGINT))
for name in [n for n in sys.modules if n.partition(".")[0] in ("dsdit", "catalogs", "flows")]:
    del sys.modules[name]
warnings.resetwarnings()
for logger in logging.root.manager.loggerDict.values():
    if isinstance(logger, logging.Logger):
        logger.filters.clear()
before = state()
for name in names:
    importlib.import_module(name)
for one, other in zip(before, state()):
    assert one == other, (one, other)
print(len(names))
"""


def test_importing_the_packages_changes_no_state_of_the_process() -> None:
    """Their libraries are imported before: what those change is their own business."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", IMPORTS], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout.split()[-1]) > 150


def test_reading_silences_only_the_warning_of_missing_georeferences() -> None:
    from catalogs.read.file_limits import ignore_missing_georeference

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ignore_missing_georeference.cache_clear()
        ignore_missing_georeference()
        warnings.warn("no georeference", NotGeoreferencedWarning, stacklevel=1)
        warnings.warn("other", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["other"]

"""Trials as tasks of a Ray cluster."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from jprm.errors import UserError
from jprm.launch.trial import LOST, Trial, run_trial


class RayLauncher:
    """`settings`: `address` of a cluster, and what a trial asks for (`num_cpus`, `num_gpus`, `resources`).

    Without an address: the cluster that this program is connected to, else the one that Ray finds (RAY_ADDRESS), else a
    new one on this machine. Nodes must share the file system and have jprm installed.
    """

    def __init__(self, settings: Mapping[str, Any]):
        """Raises UserError where Ray is not installed, or the cluster does not answer."""
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise UserError("--launcher ray needs ray; install it: pip install -e '.[ray]'") from None
        wanted = {"num_cpus": 1} | dict(settings)
        address = wanted.pop("address", None)
        self._ray = ray
        self._began = not ray.is_initialized()
        if self._began:
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UserError(f"--launcher ray: {error}; see [launch.ray]") from None
        # Ray would start a lost task again by itself; the loop of `run_all` counts, so it does
        options = {"max_retries": 0, "scheduling_strategy": "SPREAD"} | wanted
        self._run = ray.remote(**options)(run_trial)

    def start(self, trial: Trial) -> Any:
        """Submits a task."""
        return self._run.remote(trial)

    def poll(self, handle: Any) -> int | None:
        """A task whose node or process died is lost."""
        ray = self._ray
        ready, _ = ray.wait([handle], timeout=0)
        if not ready:
            return None
        try:
            return ray.get(handle)
        except (ray.exceptions.RayError, ray.exceptions.RayTaskError):
            return LOST

    def stop(self, handle: Any) -> None:
        """Ends the process above the trial, which sees that and stops at its next safe point."""
        self._ray.cancel(handle, force=True)

    def close(self) -> None:
        """Leaves the cluster, where this launcher had joined it."""
        if self._began:
            self._ray.shutdown()

"""Description of a Ray cluster and of its actors' resources, and the connection of this process to it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ...utils.arguments import check_seconds, names_arguments
from ...utils.errors import ConfigError, FlowtrainError
from ...utils.optional import require
from .crews import RayCrews

__all__ = ["Ray"]

logger = logging.getLogger("flowtrain.dataflow")
_LOCAL = ("working_dir", "py_modules", "excludes")  # keys of a runtime_env that Ray takes for a whole connection
_lock = threading.Lock()
_shipped: dict[str, Any] = {}  # these keys as given to the connection of this process, if it was made here


@names_arguments
class Ray:
    """A Ray cluster whose actors make the datapoints of a parallel stage, for its argument ``cluster``.

    Actors make datapoints by index. The consumer gets each datapoint once, in order, with the values of a serial flow,
    for any number of actors on any number of machines, even if some join, leave or are killed meanwhile. Needs
    ``pip install 'flowtrain[ray]'`` here and on the cluster's machines, with the same versions.

    The process connects to the cluster at the first iteration. Whoever can reach a Ray cluster can run code on its
    machines: keep it in a network of your own, with Ray's token or TLS on.

    Args:
        address: Address of the cluster: ``"auto"`` (one that runs on this machine, or the environment variable
            RAY_ADDRESS), ``"host:6379"``, or ``"local"`` (start one on this machine for this process). None: the
            runtime that this process is connected to already, else RAY_ADDRESS or one that runs on this machine, else
            a new one.
        cpus: CPUs that Ray reserves for each actor. With a fraction several actors share one, which suits sources that
            mostly wait.
        resources: Other resources for each actor: ``{"GPU": 1}``, or a resource that you named on some machines.
        runtime_env: Ray's description of what actors need: ``{"working_dir": "."}`` ships your modules,
            ``{"pip": [...]}`` packages. Folders are shipped when this process connects.
        start_timeout: Seconds to wait for the first actor, e.g. until an autoscaled cluster has grown.

    Raises:
        ConfigError: An argument is of the wrong type or out of range.

    Example:
        >>> Ray("10.0.0.1:6379", cpus=2)
        Ray('10.0.0.1:6379', cpus=2)
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        cpus: float = 1,
        resources: dict[str, float] | None = None,
        runtime_env: dict[str, Any] | None = None,
        start_timeout: float = 600.0,
    ) -> None:
        if address is not None and (not isinstance(address, str) or not address):
            raise ConfigError(f"Ray: address must be 'auto', 'local', 'host:port' or None, got {address!r:.200}")
        if address is not None and address.startswith("ray://"):
            raise ConfigError(
                f"Ray: {address!r} is Ray's client, through which each array would be copied several times. Run the "
                "script on a machine of the cluster, with address='auto'"
            )
        self.address = address
        self.cpus = _amount("cpus", cpus)
        self.resources = {str(key): _amount(f"resources[{key!r}]", value) for key, value in (resources or {}).items()}
        if "CPU" in self.resources:
            raise ConfigError("Ray: write cpus=, not resources={'CPU': ...}")
        if runtime_env is not None and not isinstance(runtime_env, dict):
            raise ConfigError(f"Ray: runtime_env must be a dict, as Ray takes it, got {runtime_env!r:.200}")
        self.runtime_env = runtime_env
        self.start_timeout = check_seconds("Ray", "start_timeout", start_timeout)

    def __repr__(self) -> str:
        said = [] if self.address is None else [repr(self.address)]
        said += [f"cpus={self.cpus:g}"] if self.cpus != 1 else []
        said += [f"resources={self.resources}"] if self.resources else []
        return f"Ray({', '.join(said)})"

    def crews(self, workers: int, window: int, *, timeout: float, restart: bool, preload: tuple[str, ...]) -> RayCrews:
        """The crews of a parallel stage, which calls this."""
        return RayCrews(self, workers, window, timeout=timeout, restart=restart, preload=preload)

    def wants(self) -> str:
        """The resources of each actor, for messages."""
        wanted = {"CPU": self.cpus, **self.resources}
        return " and ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount) or "nothing"

    def options(self) -> dict[str, Any]:
        """Options for Ray's ``options()`` of an actor: its resources and ``runtime_env``."""
        resources = dict(self.resources)
        made: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": resources.pop("GPU", 0)}
        if resources:
            made["resources"] = resources
        if env := {key: value for key, value in (self.runtime_env or {}).items() if key not in self._local()}:
            made["runtime_env"] = env
        return made

    def _local(self) -> dict[str, Any]:
        """The part of ``runtime_env`` with folders of this machine, which Ray takes only for a whole connection."""
        env = self.runtime_env or {}
        folders = [env.get("working_dir"), *(env.get("py_modules") or ())]
        if all(folder is None or "://" in str(folder) for folder in folders):
            return {}
        return {key: env[key] for key in _LOCAL if key in env}

    def connect(self, name: str) -> ModuleType:
        """Connect this process to the cluster, unless it is connected.

        Args:
            name: The stage, for messages.

        Returns:
            The module ``ray``.

        Raises:
            MissingPackage: Ray is not installed.
            FlowtrainError: There is no such cluster.
        """
        name = name.rstrip(",")  # stages name a crew "MapData(...), epoch 3,", to be followed by a place
        ray = require("ray", extra="ray", needed_for=name)
        with _lock:  # two flows may begin in two threads
            if not ray.is_initialized():
                self._start(ray, name)
            elif self.address not in (None, "auto", "local"):
                have = ray.get_runtime_context().gcs_address
                if have != self.address:
                    raise ConfigError(
                        f"{name} wants the Ray cluster {self.address}, but this process is connected to {have}. A "
                        "process has one; call ray.shutdown() first"
                    )
            if (local := self._local()) and local != _shipped:
                raise ConfigError(
                    f"{name}: this process is connected to Ray already, and folders are shipped with the connection. "
                    f"Give {', '.join(local)} to ray.init(runtime_env=...), not to Ray(), or call ray.shutdown() first"
                )
        return ray

    def _start(self, ray: ModuleType, name: str) -> None:
        options: dict[str, Any] = {} if self.address is None else {"address": self.address}
        if local := self._local():
            options["runtime_env"] = dict(local)
        if self.address == "local":
            options["include_dashboard"] = False
        where = {None: "connects to Ray, or starts it on this machine", "local": "starts Ray on this machine"}
        logger.info("%s %s", name, where.get(self.address, f"connects to Ray at {self.address}"))
        if self.address in (None, "local") and not os.environ.get("RAY_ADDRESS"):
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a runtime of our own reports to nobody
        try:
            with _kept_signals():
                ray.init(**options, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise FlowtrainError(
                f"{name}: cannot connect to Ray at {self.address or 'this machine'}: {error}"
            ) from error
        _shipped.clear()
        _shipped.update(local)


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    """Keep this process's handler of SIGTERM: ray.init() installs its own, and a trainer must save on SIGTERM."""
    if threading.current_thread() is not threading.main_thread():  # signal.signal works in the main thread alone
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before not in (None, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, before)


def _amount(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
        raise ConfigError(f"Ray: {name} must be a number of at least 0, got {value!r:.200}")
    return value

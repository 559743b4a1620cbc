"""One Ray cluster of two machines for all tests of this folder, as its start takes seconds."""

from __future__ import annotations

import os
import warnings

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else a token is written into the home folder
os.environ.setdefault("RAY_health_check_period_ms", "500")  # so that the loss of a machine is noticed soon
os.environ.setdefault("RAY_health_check_failure_threshold", "3")

ray = pytest.importorskip("ray")
STORE = 100 << 20  # bytes


@pytest.fixture(scope="package")
def cluster():
    """A head with two CPUs and a second machine with two; gone before the tests of other folders count processes."""
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False},
        )
        made.add_node(num_cpus=2, object_store_memory=STORE)
        ray.init(address=made.address, logging_level="WARNING")
        made.wait_for_nodes()
        yield made
        ray.shutdown()
        made.shutdown()

"""Fixtures for tests of a distributed log. `make test-citus` starts them; tests/server has the tools that they share."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "server"))

import pytest
from nodes import COORDINATOR, Distributed, Nodes


@pytest.fixture(scope="session")
def nodes():
    """A coordinator and two workers, started once, and a third worker that belongs to no cluster yet."""
    if "IMMUTABLE_PG_MAJOR" not in os.environ:
        pytest.exit("start these tests with make test-citus, or tests/run --citus PG_CONFIG", 1)
    nodes = Nodes(int(os.environ["IMMUTABLE_PG_MAJOR"]))
    yield nodes
    nodes.stop()


@pytest.fixture(scope="module")
def shared(nodes):
    """A distributed log for all tests of a file; each test takes tenants of its own."""
    log = Distributed(nodes)
    yield log
    log.close()


@pytest.fixture
def log(nodes):
    """A distributed log of its own."""
    log = Distributed(nodes)
    yield log
    log.close()


@pytest.fixture(params=["coordinator", "worker"])
def entry(request):
    """The node that a client connects to, once the coordinator and once a worker."""
    return COORDINATOR if request.param == "coordinator" else 1

"""What tests/server/conftest.py has for whole servers. Both directories have a conftest, so that the name alone does not say
which one is meant."""

import importlib.util
import pathlib

spec = importlib.util.spec_from_file_location("conftest_of_server_tests", pathlib.Path(__file__).resolve().parents[1] / "server/conftest.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
Cluster = module.Cluster

"""Nodes of Citus, and databases on them whose log is distributed. The servers are those of scripts/pg: each listens on a
socket in its own directory, and the directory is the node's name."""

import contextlib
import itertools

import psycopg
from conftest_of_servers import Cluster
from psycopg import sql

COORDINATOR, WORKERS, SPARE = 0, (1, 2), 3
SETTINGS = {
    "shared_preload_libraries": "citus",
    "wal_level": "logical",
    "max_prepared_transactions": "200",
    "max_connections": "300",
    "max_worker_processes": "60",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "shared_buffers": "64MB",
    "citus.shard_count": "8",
    "citus.node_conninfo": "sslmode=disable",
    "citus.defer_shard_delete_interval": "1000",
}
numbers = itertools.count(1)


class Nodes(list):
    """The servers, by number: the coordinator, two workers, and a spare one."""

    def __init__(self, major):
        super().__init__(Cluster(major, **SETTINGS) for _ in range(4))
        for node in self:
            with node.connect() as admin:
                # To move shards, Citus connects to its own node too, and takes it for localhost.
                admin.execute(f"ALTER SYSTEM SET citus.local_hostname = '{node.host}'")
                # Later minor releases ask for this before Citus may split a shard by logical replication.
                if admin.execute("SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'output_plugin_libraries')").fetchone()[0]:
                    admin.execute("ALTER SYSTEM SET output_plugin_libraries = pgoutput, citus")
                admin.execute("SELECT pg_reload_conf()")

    def stop(self):
        for node in self:
            node.destroy()


class Distributed:
    """A database with a distributed log. `conn` is a superuser's connection to the coordinator."""

    def __init__(self, nodes, distribute=True, version=None, extension=True):
        self.nodes, self.name = nodes, f"log_{next(numbers)}"
        self.roles, self.connections = [], []
        for node in nodes:
            with node.connect() as admin:
                admin.execute(f"CREATE DATABASE {self.name}")
            with node.connect(self.name) as conn:
                conn.execute("CREATE EXTENSION citus")
        self.conn = self.connect()
        self.conn.execute("SELECT citus_set_coordinator_host(%s, %s)", self.address(COORDINATOR))
        for worker in WORKERS:
            self.add(worker)
        if not extension:
            return
        self.conn.execute("CREATE EXTENSION immutable" + (f" VERSION '{version}'" if version else ""))
        if distribute:
            self.conn.execute("SELECT immutable.distribute()")

    def address(self, node):
        return self.nodes[node].host, int(self.nodes[node].port)

    def add(self, node):
        """Makes a node a worker of this database's cluster."""
        self.conn.execute("SELECT citus_add_node(%s, %s)", self.address(node))

    def connect(self, role="postgres", node=COORDINATOR, autocommit=True, **options):
        connection = psycopg.connect(self.nodes[node].dsn(self.name, role), autocommit=autocommit, **options)
        self.connections.append(connection)
        return connection

    def create_role(self, attributes="", groups=()):
        """A role that may log in, on all nodes. `attributes` is what may follow CREATE ROLE name."""
        name = f"{self.name}_role_{next(numbers)}"
        self.conn.execute(f"CREATE ROLE {name} LOGIN {attributes}")
        for group in groups:
            self.conn.execute(f"GRANT {group} TO {name}")
        self.roles.append(name)
        return name

    def shards(self, table="events"):
        """Name of each shard -> the number of its node."""
        found = self.conn.execute(
            "SELECT s.logicalrelid::text || '_' || s.shardid, n.nodename FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) "
            "JOIN pg_dist_node n USING (groupid) WHERE s.logicalrelid = %s::regclass", [f"immutable.{table}"]).fetchall()
        hosts = [node.host for node in self.nodes]
        return {name: hosts.index(host) for name, host in found}

    def shard_of(self, tenant, table="events"):
        """Name of the tenant's shard, and the number of its node."""
        (number,), = self.conn.execute(
            "SELECT get_shard_id_for_distribution_column(%s::regclass, %s::text)", [f"immutable.{table}", tenant]).fetchall()
        name = f"immutable.{table}_{number}"
        return name, self.shards(table)[name]

    def tenants_on(self, node, count=1, start=0):
        """Names of tenants whose shards are on this node."""
        found = []
        for number in itertools.count(start):
            if self.shard_of(f"t{number}")[1] == node:
                found.append(f"t{number}")
            if len(found) == count:
                return found

    @contextlib.contextmanager
    def on_node(self, node, role="postgres"):
        with psycopg.connect(self.nodes[node].dsn(self.name, role), autocommit=True) as conn:
            yield conn

    def close(self):
        for connection in self.connections:
            connection.close()
        for node in self.nodes:
            with node.connect() as admin:
                # Each role is dropped where the database is gone; the coordinator's DROP ROLE would ask the other nodes.
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))
        for node in self.nodes:
            with node.connect() as admin:
                for role in self.roles:
                    admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))

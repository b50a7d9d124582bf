"""Streams: what a program that delivers does, one call at a time."""

from psycopg.types.json import Jsonb

WEBHOOK = {"type": "webhook", "url": "https://siem.example/in", "secret": "siem"}


def create(conn, name="siem", destination=WEBHOOK, **options):
    """Makes a stream, and gives its id."""
    options = {key: Jsonb(value) if isinstance(value, (dict, list)) else value for key, value in options.items()}
    arguments = "".join(f", {key} => %({key})s" for key in options)
    made, = conn.execute(f"SELECT immutable.create_stream(%(name)s, %(destination)s{arguments})",
                         {"name": name, "destination": Jsonb(destination), **options}).fetchone()
    return made["id"]


def update(conn, id, **options):
    options = {key: Jsonb(value) if isinstance(value, (dict, list)) else value for key, value in options.items()}
    arguments = "".join(f", {key} => %({key})s" for key in options)
    return conn.execute(f"SELECT immutable.update_stream(%(id)s{arguments})", {"id": id, **options}).fetchone()[0]


def stream(conn, id):
    """The stream as get_streams() shows it."""
    streams, = conn.execute("SELECT immutable.get_streams() -> 'data'").fetchone()
    return next((stream for stream in streams if stream["id"] == id), None)


def due(conn):
    answer, = conn.execute("SELECT immutable.due_deliveries()").fetchone()
    return answer["state"], {stream["id"]: stream["due"] for stream in answer["streams"]}


def take(conn, id, worker="one", most=100, lease=30):
    return conn.execute("SELECT immutable.take_delivery(%s, %s, %s, %s)", [id, worker, most, lease]).fetchone()[0]


def settle(conn, id, taken, outcome="delivered", delivered=0, reason=None, retry=0):
    return conn.execute("SELECT immutable.settle_delivery(%s, %s, %s, %s, %s, %s)",
                        [id, taken["fence"], outcome, delivered, reason, retry]).fetchone()[0]


def actions(taken):
    return [item["json"]["action"] for item in taken["items"]] if taken else []


def deliver(conn, id, worker="one", most=100):
    """Everything that there is, all of it accepted; gives the items."""
    items = []
    while taken := take(conn, id, worker, most):
        items += taken["items"]
        assert settle(conn, id, taken, "delivered", len(taken["items"])) is False
    return items


def record(conn, *names, tenant="t", actor="ann", **columns):
    """Records events with these actions."""
    values = {"tenant_id": tenant, "actor_id": actor, **columns}
    for name in names:
        conn.execute(f"INSERT INTO immutable.events ({', '.join(values)}, action) VALUES ({', '.join(['%s'] * len(values))}, %s)",
                     [*values.values(), name])


def dead_letters(conn, id=None):
    return conn.execute("SELECT immutable.get_dead_letters(%s) -> 'data'", [id]).fetchone()[0]

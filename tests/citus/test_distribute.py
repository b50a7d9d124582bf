"""immutable.distribute(): the log on several nodes."""


def test_events_go_to_their_shards(shared, entry):
    conn = shared.connect(node=entry)
    tenants = shared.tenants_on(1, 2) + shared.tenants_on(2, 2)
    for tenant in tenants:
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'b')", [tenant])
    assert conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = ANY (%s)", [tenants]).fetchone()[0] >= 4

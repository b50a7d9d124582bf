# == Configuration
from getimmutable import ImmutableClient

client = ImmutableClient(
    api_key="imk_your_api_key_here",
    base_url="https://getimmutable.dev",
    timeout=5.0,  # seconds (default)
)

# == Fluent Builder
client.actor("user_2hG9kLm", name="Sarah Chen", type="user") \
    .track("document.created", "document", {"size": 1024})

# == With Resource Object
client.actor("user_2hG9kLm", name="Sarah Chen") \
    .track(
        "document.created",
        {"type": "document", "id": "doc_8nXpQr3", "name": "Q4 Report"},
        {"size": 1024, "mime_type": "application/pdf"},
    )

# == Full Builder Example
client.actor("user_2hG9kLm", name="Sarah Chen", type="user") \
    .idempotency_key("unique_key_123") \
    .version(1) \
    .session("sess_4kN8pLm") \
    .action_category("documents") \
    .target("folder", "folder_3mK9pLq", "Shared Reports") \
    .target("team", "team_5bR7cNx", "Engineering") \
    .track("document.created", "document", {
        "folder": "reports",
        "template": "quarterly",
    })

# == Raw Tracking
client.track({
    "actor_id": "user_2hG9kLm",
    "actor_name": "Sarah Chen",
    "action": "document.created",
    "resource": "document",
    "resource_id": "doc_8nXpQr3",
    "metadata": {"size": 1024},
})

# == Batch Ingestion
client.track_batch([
    {
        "actor_id": "user_2hG9kLm",
        "action": "document.created",
        "resource_id": "doc_8nXpQr3",
    },
    {
        "actor_id": "user_2hG9kLm",
        "action": "document.shared",
        "resource_id": "doc_8nXpQr3",
        "targets": [
            {"type": "team", "id": "team_5bR7cNx", "name": "Engineering"},
        ],
    },
])

# == Querying Events
result = client.get_events(
    actor_id="user_2hG9kLm",
    action="document.*",
    from_date="2026-03-01T00:00:00Z",
    limit=25,
)

for event in result["data"]:
    print(f'{event["action"]} at {event["created_at"]}')

# Cursor pagination
if result["pagination"]["has_more"]:
    next_page = client.get_events(
        actor_id="user_2hG9kLm",
        cursor=result["pagination"]["next_cursor"],
    )

# == Retrieving a Single Event
event = client.get_event("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d")
print(event["data"]["action"])
print(event["data"]["integrity"]["event_hash"])
print(event["data"]["integrity"]["previous_event_hash"])

# == Verification
result = client.verify()
print(result["data"]["valid"])           # True
print(result["data"]["events_checked"])  # 4821

# With date range
result = client.verify(
    from_date="2026-03-01T00:00:00Z",
    to_date="2026-03-31T23:59:59Z",
)

# With custom limit (default: 10000)
result = client.verify(limit=1000)

# Check for breaks
if not result["data"]["valid"]:
    for b in result["data"]["breaks"]:
        print(f'Break: {b["type"]} at event {b["event_id"]}')

# == Viewer Tokens
token = client.create_viewer_token(
    tenant_id="org_7rT2xBc",
    actor_id="user_2hG9kLm",
    ttl=7200,  # 2 hours (min: 60, max: 86400)
)

print(token["token"])       # JWT string
print(token["expires_at"])  # Unix timestamp (integer)

# == Alerts
alerts = client.get_alerts(
    rule_type="new_country",
    limit=25,
)

for alert in alerts["data"]:
    print(f'{alert["rule_type"]}: {alert["reason"]}')

# Paginate
if alerts["pagination"]["has_more"]:
    next_page = client.get_alerts(
        cursor=alerts["pagination"]["next_cursor"],
    )

# == Exports
# Create export
export = client.create_export(
    actor_id="user_2hG9kLm",
    from_date="2026-03-01T00:00:00Z",
)

# Poll for completion
import time

while True:
    status = client.get_export(export["data"]["id"])
    if status["data"]["status"] == "completed":
        print(f'Download: {status["data"]["download_url"]}')
        break
    elif status["data"]["status"] == "failed":
        print(f'Error: {status["data"].get("error_message")}')
        break
    time.sleep(2)

# == Error Handling
from getimmutable import ImmutableClient, ImmutableError

client = ImmutableClient(api_key="imk_invalid", base_url="https://getimmutable.dev")

try:
    client.track({"actor_id": "user_1", "action": "test"})
except ImmutableError as e:
    print(e)                # Error message
    print(e.status_code)    # HTTP status (401, 422, 500, etc.)
    print(e.response_data)  # Full response body as dict

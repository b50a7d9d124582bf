//! Items for tests.

use crate::deliveries::item::{Item, Kind};
use serde_json::{json, Value};

/// An event with all members.
pub(crate) fn event() -> Item {
    let document = r#"{"action":"document.created","recorded_by":"app key:k1","v":1}"#;
    event_of(
        json!({ "id": "0195d3a0-6c1e-7c3a-9f00-3b7d52d1c001", "tenant_id": "org_7rT2xBc",
          "actor": {"id": "user_1", "name": "Sarah Chen", "type": "user"},
          "action": "document.created", "action_category": null,
          "resource": {"type": "document", "id": "doc_1", "name": "Q4 Financial Report"},
          "targets": [{"id": "team_5", "name": "Ops", "type": "team"}], "metadata": {"folder": "reports"},
          "session_id": "s1", "ip_address": "203.0.113.7", "ip_country": "DE", "ip_city": null, "user_agent": "curl/8",
          "idempotency_key": null, "version": null,
          "integrity": {"event_hash": "ab".repeat(32), "previous_event_hash": "cd".repeat(32), "lane": 0, "seq": 12},
          "occurred_at": "2026-03-15T14:32:18.847312Z", "created_at": "2026-03-15T14:32:18.851900Z" }),
        Some(document),
    )
}

/// An event of this JSON.
pub(crate) fn event_of(json: Value, document: Option<&str>) -> Item {
    Item {
        id: json["id"].as_str().unwrap_or("e1").to_owned(),
        kind: Kind::EventCreated,
        json,
        document: document.map(str::to_owned),
        log_id: String::from("b7e0a4ce-52f3-4b32-8f0a-0c6f6d1f6f10"),
        stream: String::from("siem"),
    }
}

/// An alert with its event.
pub(crate) fn alert() -> Item {
    let json = json!({ "id": "0195d3a0-7000-7c3a-9f00-3b7d52d1c0aa", "rule_id": "0195d3a0-7000-7c3a-9f00-3b7d52d1c0bb",
      "rule_name": "Suspicious login", "rule_type": "new_country", "reason": "user_1 was in DE for the first time",
      "event_id": "0195d3a0-6c1e-7c3a-9f00-3b7d52d1c001",
      "event": {"id": "0195d3a0-6c1e-7c3a-9f00-3b7d52d1c001", "action": "user.login", "action_category": null,
        "actor_id": "user_1", "actor_name": null, "actor_type": "user", "resource_type": null, "resource_id": null,
        "resource_name": null, "ip_country": "DE", "ip_city": null, "ip_address": "2001:db8::7", "tenant_id": null,
        "occurred_at": "2026-03-26T08:45:12.000000Z", "created_at": "2026-03-26T08:45:12.000100Z"},
      "notified_at": null, "triggered_at": "2026-03-26T08:45:12.500000Z" });
    Item {
        id: json["id"].as_str().unwrap_or_default().to_owned(),
        kind: Kind::AlertTriggered,
        document: None,
        json,
        ..event()
    }
}

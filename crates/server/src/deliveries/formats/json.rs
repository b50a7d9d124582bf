//! The service's webhook JSON, with `type` and `data` as Standard Webhooks advises.

use super::view::{EventView, View};
use crate::deliveries::item::Item;
use serde_json::{json, Map, Value};

/// `event.created` or `alert.triggered`.
pub(crate) fn render(item: &Item) -> Value {
    let mut out = Map::new();
    out.insert(String::from("type"), json!(item.kind.name()));
    out.insert(String::from("event_type"), json!(item.kind.name()));
    out.insert(String::from("workspace_id"), json!(item.log_id));
    match View::of(item) {
        View::Event(event) => {
            out.insert(String::from("timestamp"), json!(event.created_at()));
            out.insert(String::from("data"), with_flat_members(&item.json, event));
        }
        View::Alert(alert) => {
            out.insert(String::from("timestamp"), json!(alert.text("triggered_at")));
            for (name, member) in [
                ("alert_id", "id"),
                ("rule_id", "rule_id"),
                ("rule_name", "rule_name"),
                ("rule_type", "rule_type"),
                ("reason", "reason"),
                ("event", "event"),
                ("triggered_at", "triggered_at"),
            ] {
                out.insert(name.to_owned(), item.json.get(member).cloned().unwrap_or(Value::Null));
            }
            out.insert(String::from("data"), item.json.clone());
        }
    }
    Value::Object(out)
}

/// The event, with the members `actor_id` to `resource_name` that the service's deliveries have at its top.
fn with_flat_members(json: &Value, event: EventView) -> Value {
    let mut data = json.as_object().cloned().unwrap_or_default();
    for name in ["id", "name", "type"] {
        data.entry(format!("actor_{name}")).or_insert_with(|| json!(event.actor(name)));
        data.entry(format!("resource_{name}")).or_insert_with(|| json!(event.resource(name)));
    }
    Value::Object(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::formats::samples;

    #[test]
    fn an_event_has_the_members_of_the_service() {
        let json = render(&samples::event());
        assert_eq!(json["event_type"], "event.created");
        assert_eq!(json["timestamp"], "2026-03-15T14:32:18.851900Z");
        assert_eq!(json["workspace_id"], "b7e0a4ce-52f3-4b32-8f0a-0c6f6d1f6f10");
        assert_eq!(json["data"]["actor_id"], "user_1");
        assert_eq!(json["data"]["resource_id"], "doc_1");
        assert_eq!(json["data"]["actor"]["name"], "Sarah Chen");
    }

    #[test]
    fn numbers_are_passed_on_digit_by_digit() {
        let mut item = samples::event();
        item.json["metadata"] = serde_json::from_str(r#"{"n": 1.10, "m": 123456789012345678901234567890.5}"#).unwrap();
        let text = render(&item).to_string();
        assert!(text.contains(r#""n":1.10"#) && text.contains("123456789012345678901234567890.5"), "{text}");
    }

    #[test]
    fn an_alert_has_the_members_of_the_service() {
        let json = render(&samples::alert());
        assert_eq!(json["event_type"], "alert.triggered");
        assert_eq!(json["alert_id"], "0195d3a0-7000-7c3a-9f00-3b7d52d1c0aa");
        assert_eq!(json["event"]["actor_id"], "user_1");
        assert_eq!(json["data"]["reason"], json["reason"]);
    }
}

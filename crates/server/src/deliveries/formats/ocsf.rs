//! OCSF 1.6.0: class 6003, API Activity, for events; class 2004, Detection Finding, for alerts.

use super::options::Options;
use super::view::{millis, AlertView, EventView, View};
use crate::deliveries::item::Item;
use serde_json::{json, Map, Value};

/// The version of the schema: the first one with `raw_data_hash` and the roles of resources.
const VERSION: &str = "1.6.0";
const NAMES: [&str; 5] = ["Unknown", "Create", "Read", "Update", "Delete"];

/// One event of OCSF.
pub(crate) fn render(item: &Item, options: &Options) -> Value {
    let value = match View::of(item) {
        View::Event(event) => activity(item, event, options),
        View::Alert(alert) => finding(item, alert),
    };
    without_null(value)
}

fn activity(item: &Item, event: EventView, options: &Options) -> Value {
    let (id, name) = activity_of(event, options);
    json!({
        "class_uid": 6003, "class_name": "API Activity",
        "category_uid": 6, "category_name": "Application Activity",
        "activity_id": id, "activity_name": name,
        "type_uid": 600_300 + i64::from(id), "type_name": format!("API Activity: {}", if id == 99 { "Other" } else { name }),
        "severity_id": 1, "severity": "Informational",
        "time": millis(event.occurred_at()),
        "metadata": metadata(item, Some(event), event.created_at()),
        "actor": actor(event),
        "api": {"operation": event.action(), "group": event.text("action_category").map(|name| json!({"name": name}))},
        "src_endpoint": endpoint(item, event),
        "http_request": event.text("user_agent").map(|agent| json!({"user_agent": agent})),
        "resources": resources(event),
        "unmapped": unmapped(item),
        "raw_data": item.document,
        // The event's hash is the SHA-256 of the document, byte by byte.
        "raw_data_hash": item.document.as_ref().and(event.event_hash())
            .map(|hash| json!({"algorithm_id": 3, "algorithm": "SHA-256", "value": hash})),
    })
}

fn finding(item: &Item, alert: AlertView) -> Value {
    let event = alert.event();
    let rule_type = alert.text("rule_type");
    json!({
        "class_uid": 2004, "class_name": "Detection Finding",
        "category_uid": 2, "category_name": "Findings",
        "activity_id": 1, "activity_name": "Create",
        "type_uid": 200_401, "type_name": "Detection Finding: Create",
        "severity_id": 3, "severity": "Medium",
        "status_id": 1, "status": "New",
        "time": millis(alert.text("triggered_at")),
        "message": alert.text("reason"),
        "metadata": metadata(item, event, alert.text("triggered_at")),
        "finding_info": {
            "uid": item.id, "title": alert.text("rule_name").unwrap_or("Alert"), "desc": alert.text("reason"),
            "types": rule_type.map(|name| [name]),
            "created_time": millis(alert.text("triggered_at")),
            "analytic": {"type_id": 1, "type": "Rule", "uid": alert.text("rule_id"), "name": alert.text("rule_name").unwrap_or("Alert")},
            "related_events": alert.text("event_id").map(|uid| [json!({"uid": uid})]),
        },
        "evidences": event.map(|event| [json!({
            "actor": actor(event), "api": {"operation": event.action()}, "src_endpoint": endpoint(item, event),
        })]),
        "resources": event.and_then(resources),
        "unmapped": unmapped(item),
    })
}

/// The number and the name of the activity: by the category if the event has one, else by the last word of its action.
fn activity_of<'a>(event: EventView<'a>, options: &Options) -> (u8, &'a str) {
    let word = event.text("action_category").or_else(|| event.action().rsplit('.').next()).unwrap_or_default();
    let id = options.activities.get(word).copied().or(match word.to_ascii_lowercase().as_str() {
        "create" | "created" | "c" => Some(1),
        "read" | "viewed" | "r" => Some(2),
        "update" | "updated" | "u" => Some(3),
        "delete" | "deleted" | "d" => Some(4),
        _ => None,
    });
    // With 99, the name is the source's own word.
    id.map_or((99, event.action()), |id| (id, NAMES.get(usize::from(id)).copied().unwrap_or("Unknown")))
}

fn metadata(item: &Item, event: Option<EventView>, logged: Option<&str>) -> Value {
    json!({
        "version": VERSION,
        "product": {"name": "immutable", "vendor_name": "immutable", "version": env!("CARGO_PKG_VERSION")},
        "uid": item.id,
        "tenant_uid": event.and_then(|event| event.text("tenant_id")),
        "sequence": event.and_then(EventView::seq),
        "logged_time": millis(logged),
        "event_code": event.map_or(item.kind.name(), EventView::action),
        "log_name": item.log_id,
    })
}

fn actor(event: EventView) -> Value {
    let (id, name, kind) = (event.actor("id"), event.actor("name"), event.actor("type"));
    if id.or(name).is_none() {
        // The schema wants an actor. This one was erased.
        return json!({"app_name": "unknown", "session": session(event)});
    }
    let type_id = match kind {
        None => 0,
        Some("user") => 1,
        Some("admin") => 2,
        Some("system") => 3,
        Some("service") => 4,
        Some(_) => 99,
    };
    let service = kind == Some("service");
    json!({
        "user": {"uid": id, "name": name, "type": kind, "type_id": type_id},
        "session": session(event),
        "app_uid": id.filter(|_| service),
        "app_name": name.filter(|_| service),
    })
}

fn session(event: EventView) -> Option<Value> {
    event.text("session_id").map(|uid| json!({"uid": uid}))
}

/// Where the request came from. The schema wants an endpoint, so without an address it is who recorded the event.
fn endpoint(item: &Item, event: EventView) -> Value {
    let (country, city) = (event.text("ip_country"), event.text("ip_city"));
    let location = country.or(city).map(|_| json!({"country": country, "city": city}));
    // A network has no place in `ip`.
    match event.text("ip_address").filter(|address| !address.contains('/')) {
        Some(address) => json!({"ip": address, "location": location}),
        None => {
            json!({"svc_name": recorded_by(item).unwrap_or_else(|| String::from("immutable")), "location": location})
        }
    }
}

/// Who recorded the event, which only its document says.
fn recorded_by(item: &Item) -> Option<String> {
    let document: Value = serde_json::from_str(item.document.as_deref()?).ok()?;
    document.get("recorded_by")?.as_str().map(str::to_owned)
}

/// The resource as the target of the activity, and the targets as what it affected.
fn resources(event: EventView) -> Option<Value> {
    let resource =
        |kind: Option<&str>, id: Option<&str>, name: Option<&str>, role_id: u8, role: &str, data: Option<&Value>| {
            // The schema wants a name or an id.
            let name = name.or(if id.is_none() { kind } else { None });
            json!({"type": kind, "uid": id, "name": name, "role_id": role_id, "role": role, "data": data})
        };
    let (kind, id, name) = (event.resource("type"), event.resource("id"), event.resource("name"));
    let mut all = Vec::new();
    if kind.or(id).or(name).is_some() {
        all.push(resource(kind, id, name, 1, "Target", None));
    }
    for target in event.targets().into_iter().flatten() {
        let text = |name: &str| target.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        all.push(resource(text("type"), text("id"), text("name"), 3, "Affected", target.get("metadata")));
    }
    (!all.is_empty()).then_some(Value::Array(all))
}

/// What the schema has no place for.
fn unmapped(item: &Item) -> Value {
    let mut rest = Map::new();
    rest.insert(String::from("log_id"), json!(item.log_id));
    for name in ["metadata", "integrity", "version", "idempotency_key", "event_id", "notified_at"] {
        if let Some(value) = item.json.get(name).filter(|value| !value.is_null()) {
            rest.insert(name.to_owned(), value.clone());
        }
    }
    Value::Object(rest)
}

/// The schema knows no null: a member without a value is left out. What the event itself holds stays.
fn without_null(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let kept = members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("unmapped" | "data", value) => value,
            (_, Value::Array(values)) => Value::Array(values.into_iter().map(without_null).collect()),
            (_, value) => without_null(value),
        };
        (name, value)
    });
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::formats::samples;

    #[test]
    fn an_event_is_api_activity() {
        let json = render(&samples::event(), &Options::default());
        assert_eq!((&json["class_uid"], &json["type_uid"]), (&json!(6003), &json!(600_301)));
        assert_eq!(json["time"], 1_773_585_138_847_i64);
        assert_eq!(json["actor"]["user"], json!({"uid": "user_1", "name": "Sarah Chen", "type": "user", "type_id": 1}));
        assert_eq!(json["raw_data_hash"]["value"], "ab".repeat(32));
        assert_eq!(json["resources"][1]["role_id"], 3);
        assert_eq!(json["unmapped"]["metadata"], json!({"folder": "reports"}));
    }

    #[test]
    fn the_operator_says_what_a_word_means() {
        let mut item = samples::event();
        item.json["action"] = json!("contract.signed");
        let mut options = Options::default();
        assert_eq!(render(&item, &options)["activity_id"], 99);
        assert_eq!(render(&item, &options)["activity_name"], "contract.signed");
        options.activities.insert(String::from("signed"), 3);
        assert_eq!(render(&item, &options)["type_uid"], 600_303);
        item.json["action_category"] = json!("DELETE");
        assert_eq!(render(&item, &options)["activity_id"], 4);
    }

    #[test]
    fn without_an_address_the_endpoint_is_who_recorded() {
        let mut item = samples::event();
        item.json["ip_address"] = Value::Null;
        assert_eq!(render(&item, &Options::default())["src_endpoint"]["svc_name"], "app key:k1");
        item.document = None;
        let json = render(&item, &Options::default());
        assert_eq!(json["src_endpoint"]["svc_name"], "immutable");
        assert_eq!((json.get("raw_data"), json.get("raw_data_hash")), (None, None));
    }

    #[test]
    fn an_erased_event_has_an_actor_still() {
        let item = samples::event_of(
            json!({"id": "e", "action": "x", "actor": {"id": null, "name": null, "type": null}}),
            None,
        );
        assert_eq!(render(&item, &Options::default())["actor"], json!({"app_name": "unknown"}));
    }

    #[test]
    fn an_alert_is_a_finding() {
        let json = render(&samples::alert(), &Options::default());
        assert_eq!(json["type_uid"], 200_401);
        assert_eq!(json["finding_info"]["title"], "Suspicious login");
        assert_eq!(json["evidences"][0]["src_endpoint"]["ip"], "2001:db8::7");
    }
}

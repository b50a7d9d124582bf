//! CloudEvents 1.0 in JSON.

use super::options::Options;
use super::text::{pictures, segment};
use super::view::View;
use crate::deliveries::item::Item;
use serde_json::{json, Map, Value};

/// The media type of one event.
pub(crate) const ONE: &str = "application/cloudevents+json";
/// The media type of a batch.
pub(crate) const BATCH: &str = "application/cloudevents-batch+json";

/// One event, in the structured mode.
pub(crate) fn render(item: &Item, options: &Options) -> Value {
    let view = View::of(item);
    let tenant = view.event().and_then(|event| event.text("tenant_id"));
    let mut out = Map::new();
    // The specification forbids control characters in attributes. In `data` every character stands as it is.
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.insert(name.to_owned(), Value::String(pictures(&value)));
        }
    };
    put("specversion", Some(String::from("1.0")));
    put("id", Some(item.id.clone()));
    let source = format!("/immutable/{}", segment(&item.log_id));
    put("source", Some(tenant.map_or(source.clone(), |tenant| format!("{source}/{}", segment(tenant)))));
    put("datacontenttype", Some(String::from("application/json")));
    put("time", view.time().map(str::to_owned));
    put("recordedtime", view.recorded().map(str::to_owned));
    match view {
        View::Event(event) => {
            put("type", Some(format!("{}.{}", options.type_prefix, event.action())));
            let subject: Vec<String> =
                [event.resource("type"), event.resource("id")].into_iter().flatten().map(segment).collect();
            put("subject", Some(subject.join("/")));
            put("sequence", event.seq().map(|seq| format!("{seq:020}")));
            put("partitionkey", event.lane().map(|lane| format!("{}/{lane}", tenant.unwrap_or_default())));
            put("eventhash", event.event_hash().map(str::to_owned));
            put("authtype", Some(authtype(event.actor("type")).to_owned()));
            put("authid", event.actor("id").map(str::to_owned));
        }
        View::Alert(alert) => {
            put("type", Some(format!("{}.{}", options.type_prefix, item.kind.name())));
            put("subject", alert.text("rule_id").map(|rule| format!("alert_rule/{}", segment(rule))));
        }
    }
    out.insert(String::from("data"), json!(item.json));
    Value::Object(out)
}

/// What the extension "Auth Context" calls an actor of this type.
fn authtype(actor_type: Option<&str>) -> &'static str {
    match actor_type {
        Some("user" | "admin") => "user",
        Some("service") => "service_account",
        Some("api_key") => "api_key",
        Some("system") => "system",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::formats::samples;

    #[test]
    fn an_event_has_the_attributes_of_the_mapping() {
        let json = render(&samples::event(), &Options::default());
        assert_eq!(json["type"], "immutable.document.created");
        assert_eq!(json["source"], "/immutable/b7e0a4ce-52f3-4b32-8f0a-0c6f6d1f6f10/org_7rT2xBc");
        assert_eq!(json["subject"], "document/doc_1");
        assert_eq!(json["sequence"], "00000000000000000012");
        assert_eq!(json["partitionkey"], "org_7rT2xBc/0");
        assert_eq!(json["data"], samples::event().json);
    }

    #[test]
    fn attributes_have_no_control_characters() {
        let mut item = samples::event();
        item.json["action"] = json!("a\nb");
        item.json["actor"]["id"] = json!("u\t\u{85}1");
        let json = render(&item, &Options::default());
        assert_eq!(json["type"], "immutable.a␊b");
        assert_eq!(json["authid"], "u␉\u{fffd}1");
        assert_eq!(json["data"]["action"], "a\nb");
    }

    #[test]
    fn an_alert_is_an_event_too() {
        let json =
            render(&samples::alert(), &Options { type_prefix: String::from("com.example"), ..Options::default() });
        assert_eq!(json["type"], "com.example.alert.triggered");
        assert_eq!(json["source"], "/immutable/b7e0a4ce-52f3-4b32-8f0a-0c6f6d1f6f10");
    }
}

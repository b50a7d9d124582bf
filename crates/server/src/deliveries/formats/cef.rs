//! The Common Event Format, version 0 (ArcSight, Microsoft Sentinel).

use super::text::picture;
use super::view::{micros, AlertView, EventView, View};
use crate::deliveries::item::Item;
use serde_json::Value;
use std::net::IpAddr;

/// One line without its end.
pub(crate) fn render(item: &Item) -> String {
    let view = View::of(item);
    let (class, name, severity) = match view {
        View::Event(event) => (event.action(), event.action(), 3),
        View::Alert(alert) => (item.kind.name(), alert.text("rule_name").unwrap_or("Alert"), 6),
    };
    let mut line = format!(
        "CEF:0|immutable|immutable|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        header(class),
        header(name)
    );
    let mut extension = Extension { line: &mut line, is_first: true };
    extension.time("rt", view.recorded());
    extension.time("start", view.time());
    extension.put("externalId", Some(&item.id));
    extension.put("deviceExternalId", Some(&item.log_id));
    if let View::Alert(alert) = view {
        of_alert(&mut extension, alert);
    }
    if let Some(event) = view.event() {
        of_event(&mut extension, event);
    }
    line
}

fn of_alert(extension: &mut Extension, alert: AlertView) {
    extension.put("cat", Some("alert"));
    extension.put("msg", alert.text("reason"));
    extension.labelled("flexString1", "ruleType", alert.text("rule_type"));
    extension.labelled("flexString2", "eventId", alert.text("event_id"));
}

fn of_event(extension: &mut Extension, event: EventView) {
    extension.put("act", Some(event.action()));
    extension.put("cat", event.text("action_category"));
    extension.put("suid", event.actor("id"));
    extension.put("suser", event.actor("name"));
    extension.put("spriv", event.actor("type"));
    let address = event.text("ip_address");
    match address.and_then(|address| address.parse().ok()) {
        Some(IpAddr::V4(_)) => extension.put("src", address),
        Some(IpAddr::V6(_)) => extension.labelled("c6a2", "Source IPv6 Address", address),
        None => extension.put("ImmutableSourceNetwork", address),
    }
    extension.put("requestClientApplication", event.text("user_agent"));
    extension.labelled("cs1", "tenantId", event.text("tenant_id"));
    extension.labelled("cs2", "resourceType", event.resource("type"));
    extension.labelled("cs3", "resourceId", event.resource("id"));
    extension.labelled("cs4", "resourceName", event.resource("name"));
    extension.labelled("cs5", "sessionId", event.text("session_id"));
    extension.labelled("cs6", "eventHash", event.event_hash());
    extension.labelled("cn1", "lane", event.lane().map(|lane| lane.to_string()).as_deref());
    extension.labelled("cn2", "seq", event.seq().map(|seq| seq.to_string()).as_deref());
    extension.put("ImmutablePreviousEventHash", event.previous_event_hash());
    extension.put("ImmutableCountry", event.text("ip_country"));
    extension.put("ImmutableCity", event.text("ip_city"));
    let targets = event.targets().map(|targets| Value::Array(targets.clone()).to_string());
    extension.put("ImmutableTargets", targets.as_deref());
    extension.put("ImmutableMetadata", event.metadata().map(Value::to_string).as_deref());
}

/// The last part of a line: names and values with a space between them.
struct Extension<'a> {
    line: &'a mut String,
    is_first: bool,
}

impl Extension<'_> {
    fn put(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if !std::mem::take(&mut self.is_first) {
            self.line.push(' ');
        }
        self.line.push_str(name);
        self.line.push('=');
        for char in value.chars() {
            match char {
                '\\' => self.line.push_str("\\\\"),
                '=' => self.line.push_str("\\="),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                _ => self.line.push(picture(char)),
            }
        }
    }

    /// One of the fields whose meaning is in a second field.
    fn labelled(&mut self, name: &str, label: &str, value: Option<&str>) {
        if value.is_some() {
            self.put(&format!("{name}Label"), Some(label));
            self.put(name, value);
        }
    }

    /// A time, in milliseconds since 1970.
    fn time(&mut self, name: &str, time: Option<&str>) {
        self.put(name, micros(time).map(|micros| micros.div_euclid(1000).to_string()).as_deref());
    }
}

/// A field of the header, which has no escape for the end of a line.
fn header(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '\\' | '|') {
            out.push('\\');
        }
        out.push(picture(char));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::formats::samples;
    use crate::deliveries::formats::text::pictures;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// Header fields and extension of a line, read as the specification says.
    fn parse(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
        let mut fields = vec![String::new()];
        let mut chars = line.chars();
        while fields.len() < 8 {
            match chars.next().expect("a header of seven fields") {
                '\\' => fields.last_mut().unwrap().push(chars.next().expect("an escaped character")),
                '|' => fields.push(String::new()),
                char => fields.last_mut().unwrap().push(char),
            }
        }
        fields.pop();
        let rest: String = chars.collect();
        // A name is what stands between a space and an equals sign that is not escaped.
        let (mut members, mut name, mut value) = (BTreeMap::new(), None::<String>, String::new());
        let mut chars = rest.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' => value.push(match chars.next().expect("an escaped character") {
                    'n' => '\n',
                    'r' => '\r',
                    char => char,
                }),
                '=' => {
                    let at = value.rfind(' ').map_or(0, |at| at + 1);
                    let next = value.split_off(at);
                    if let Some(name) = name.replace(next) {
                        value.pop();
                        members.insert(name, std::mem::take(&mut value));
                    }
                    value.clear();
                }
                char => value.push(char),
            }
        }
        members.extend(name.map(|name| (name, value)));
        (fields, members)
    }

    #[test]
    fn an_event_has_the_keys_of_the_dictionary() {
        let (header, members) = parse(&render(&samples::event()));
        assert_eq!(header[..3], ["CEF:0", "immutable", "immutable"]);
        assert_eq!(header[4..], ["document.created", "document.created", "3"]);
        for (name, value) in [
            ("suid", "user_1"),
            ("suser", "Sarah Chen"),
            ("src", "203.0.113.7"),
            ("rt", "1773585138851"),
            ("cs1Label", "tenantId"),
            ("cs1", "org_7rT2xBc"),
            ("cn2", "12"),
            ("ImmutableMetadata", r#"{"folder":"reports"}"#),
        ] {
            assert_eq!(members.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn an_alert_has_its_rule_and_its_event() {
        let (header, members) = parse(&render(&samples::alert()));
        assert_eq!(header[4..], ["alert.triggered", "Suspicious login", "6"]);
        assert_eq!(members["msg"], "user_1 was in DE for the first time");
        assert_eq!(members["c6a2"], "2001:db8::7");
        assert_eq!(members["act"], "user.login");
    }

    proptest! {
        #[test]
        fn every_value_comes_back(action in "(?s).{1,40}", actor in "(?s).{1,40}", key in "(?s).{0,9}", text in "(?s).{0,60}") {
            let mut item = samples::event();
            item.json["action"] = json!(action);
            item.json["actor"]["name"] = json!(actor);
            let mut metadata = serde_json::Map::new();
            metadata.insert(key, json!({"nested": [text]}));
            item.json["metadata"] = Value::Object(metadata);
            let line = render(&item);
            let is_one_line = !line.contains(['\n', '\r', '\t', '\u{1b}', '\u{2028}']);
            prop_assert!(is_one_line);
            let (header, members) = parse(&line);
            prop_assert_eq!(&header[4], &pictures(&action));
            let kept = |text: &str| text.split(['\n', '\r']).map(pictures).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(kept(&members["suser"]), kept(&actor));
            prop_assert_eq!(&members["ImmutableMetadata"], &pictures(&item.json["metadata"].to_string()));
        }
    }
}

//! The Log Event Extended Format, versions 1.0 and 2.0 (IBM QRadar).

use super::options::Options;
use super::text::{picture, pictures};
use super::view::{AlertView, EventView, View};
use crate::deliveries::item::Item;
use serde_json::Value;

/// What QRadar reads `devTime` with.
const TIME_FORMAT: &str = "MMM dd yyyy HH:mm:ss.SSS zzz";
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// One line without its end. The delimiter of fields is a tab in both versions.
pub(crate) fn render(item: &Item, options: &Options) -> String {
    let view = View::of(item);
    let event_id = match view {
        View::Event(event) => event.action(),
        View::Alert(_) => item.kind.name(),
    };
    let (version, delimiter) = if options.leef_version == 1 { ("1.0", "") } else { ("2.0", "x09|") };
    let mut line =
        format!("LEEF:{version}|immutable|immutable|{}|{}|{delimiter}", env!("CARGO_PKG_VERSION"), header(event_id));
    let mut fields = Fields { line: &mut line, is_first: true };
    if let Some(time) = view.time().and_then(dev_time) {
        fields.put("devTime", Some(&time));
        fields.put("devTimeFormat", Some(TIME_FORMAT));
    }
    fields.put("id", Some(&item.id));
    fields.put("logId", Some(&item.log_id));
    match view {
        View::Event(event) => {
            fields.put("sev", Some("3"));
            fields.put("cat", event.text("action_category"));
        }
        View::Alert(alert) => of_alert(&mut fields, alert),
    }
    if let Some(event) = view.event() {
        of_event(&mut fields, event);
    }
    line
}

fn of_alert(fields: &mut Fields, alert: AlertView) {
    fields.put("sev", Some("6"));
    fields.put("cat", Some("alert"));
    for (name, member) in
        [("ruleName", "rule_name"), ("ruleType", "rule_type"), ("reason", "reason"), ("eventId", "event_id")]
    {
        fields.put(name, alert.text(member));
    }
}

fn of_event(fields: &mut Fields, event: EventView) {
    fields.put("action", Some(event.action()));
    fields.put("usrName", event.actor("name").or(event.actor("id")));
    fields.put("actorId", event.actor("id"));
    fields.put("actorType", event.actor("type"));
    fields.put("src", event.text("ip_address"));
    fields.put("country", event.text("ip_country"));
    fields.put("city", event.text("ip_city"));
    fields.put("userAgent", event.text("user_agent"));
    fields.put("tenantId", event.text("tenant_id"));
    fields.put("sessionId", event.text("session_id"));
    fields.put("resource", event.resource("type"));
    fields.put("resourceId", event.resource("id"));
    fields.put("resourceName", event.resource("name"));
    fields.put("lane", event.lane().map(|lane| lane.to_string()).as_deref());
    fields.put("seq", event.seq().map(|seq| seq.to_string()).as_deref());
    fields.put("eventHash", event.event_hash());
    fields.put("previousEventHash", event.previous_event_hash());
    fields.put("recordedTime", event.created_at());
    let targets = event.targets().map(|targets| Value::Array(targets.clone()).to_string());
    fields.put("targets", targets.as_deref());
    fields.put("metadata", event.metadata().map(Value::to_string).as_deref());
}

/// The time as [`TIME_FORMAT`] says.
fn dev_time(text: &str) -> Option<String> {
    let month: usize = text.get(5..7)?.parse().ok()?;
    let name = MONTHS.get(month.checked_sub(1)?)?;
    Some(format!("{name} {} {} {} UTC", text.get(8..10)?, text.get(0..4)?, text.get(11..23)?))
}

/// Names and values with a tab between them. The format has no escapes, so a tab in a value is a picture of one.
struct Fields<'a> {
    line: &'a mut String,
    is_first: bool,
}

impl Fields<'_> {
    fn put(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if !std::mem::take(&mut self.is_first) {
            self.line.push('\t');
        }
        self.line.push_str(name);
        self.line.push('=');
        self.line.push_str(&pictures(value));
    }
}

/// A field of the header, which cannot hold its own delimiter.
fn header(text: &str) -> String {
    text.chars().map(|char| if char == '|' { '¦' } else { picture(char) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::formats::samples;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn parse(line: &str) -> (Vec<&str>, BTreeMap<&str, &str>) {
        let fields = if line.starts_with("LEEF:1.0") { 6 } else { 7 };
        let mut header: Vec<&str> = line.splitn(fields, '|').collect();
        let rest = header.pop().unwrap();
        (header, rest.split('\t').map(|field| field.split_once('=').expect("a name and a value")).collect())
    }

    #[test]
    fn both_versions_have_the_same_fields() {
        let one = render(&samples::event(), &Options { leef_version: 1, ..Options::default() });
        let two = render(&samples::event(), &Options::default());
        let ((header_1, fields_1), (header_2, fields_2)) = (parse(&one), parse(&two));
        assert_eq!(fields_1, fields_2);
        assert_eq!((header_1[0], header_2[0], header_2[5]), ("LEEF:1.0", "LEEF:2.0", "x09"));
        assert_eq!(header_1[4], "document.created");
        assert_eq!(fields_1["devTime"], "Mar 15 2026 14:32:18.847 UTC");
        assert_eq!(fields_1["usrName"], "Sarah Chen");
    }

    #[test]
    fn an_alert_has_its_rule_and_its_event() {
        let line = render(&samples::alert(), &Options::default());
        let (header, fields) = parse(&line);
        assert_eq!(
            (header[4], fields["ruleName"], fields["action"]),
            ("alert.triggered", "Suspicious login", "user.login")
        );
    }

    proptest! {
        #[test]
        fn every_value_comes_back(action in "(?s).{1,40}", actor in "(?s).{1,40}", text in "(?s).{0,60}", version in 1u8..3) {
            let mut item = samples::event();
            item.json["action"] = json!(action);
            item.json["actor"]["name"] = json!(actor);
            item.json["metadata"] = json!({"k=\t": [text]});
            let line = render(&item, &Options { leef_version: version, ..Options::default() });
            let is_one_line = !line.contains(['\n', '\r', '\u{1b}', '\u{2028}']);
            prop_assert!(is_one_line);
            let (header, fields) = parse(&line);
            prop_assert_eq!(header[4], pictures(&action).replace('|', "¦"));
            prop_assert_eq!(fields["action"], pictures(&action));
            prop_assert_eq!(fields["usrName"], pictures(&actor));
            prop_assert_eq!(fields["metadata"], pictures(&item.json["metadata"].to_string()));
        }
    }
}

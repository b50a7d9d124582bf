//! A destination, as a stream names it.

use super::datadog::Datadog;
use super::file::Files;
use super::members::Members;
use super::splunk::Splunk;
use super::syslog::Syslog;
use super::webhook::Webhook;
use crate::deliveries::formats::format::Format;
use crate::deliveries::formats::options::Options;
use serde_json::Value;

/// Where a stream delivers to. Parse it once and keep it: it keeps its connections.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) place: Place,
    pub(crate) options: Options,
}

/// What is at a destination.
#[derive(Debug)]
pub(crate) enum Place {
    Webhook(Webhook),
    Splunk(Splunk),
    Datadog(Datadog),
    Syslog(Syslog),
    Files(Files),
}

impl Destination {
    /// The destination that this JSON object names.
    ///
    /// # Errors
    /// A sentence that names the member which is wrong.
    pub(crate) fn parse(json: &Value) -> Result<Destination, String> {
        let mut members = Members::of(json, "destination.")?;
        let place = match members.required("type")?.as_str() {
            "webhook" => Place::Webhook(Webhook::parse(&mut members)?),
            "splunk_hec" => Place::Splunk(Splunk::parse(&mut members)?),
            "datadog" => Place::Datadog(Datadog::parse(&mut members)?),
            "syslog" => Place::Syslog(Syslog::parse(&mut members)?),
            "file" => Place::Files(Files::parse(&mut members)?),
            _ => return Err(String::from("destination.type is not webhook, splunk_hec, datadog, syslog or file.")),
        };
        let options = match members.object("format_options", "destination.format_options.")? {
            Some(options) => parse_options(options)?,
            None => Options::default(),
        };
        members.finish()?;
        Ok(Destination { place, options })
    }

    /// Whether items can be delivered here in this format.
    ///
    /// # Errors
    /// A sentence for whoever chose it.
    pub(crate) fn accepts(&self, format: Format) -> Result<(), String> {
        match &self.place {
            Place::Webhook(_) if !format.is_json() => {
                Err(format!("The format {} is not for webhooks: take json, ocsf or cloudevents.", format.name()))
            }
            Place::Webhook(webhook) if webhook.batch > 1 && format != Format::CloudEvents => Err(String::from(
                "destination.batch is for the format cloudevents: the others have one event a request.",
            )),
            _ => Ok(()),
        }
    }
}

fn parse_options(mut members: Members) -> Result<Options, String> {
    let mut options = Options::default();
    for (word, activity) in members.texts("activities")? {
        let number = match activity {
            "create" => 1,
            "read" => 2,
            "update" => 3,
            "delete" => 4,
            _ => {
                return Err(String::from(
                    "destination.format_options.activities has a value that is not create, read, update or delete.",
                ))
            }
        };
        options.activities.insert(word.to_owned(), number);
    }
    if let Some(prefix) = members.text("type_prefix")? {
        options.type_prefix = prefix;
    }
    options.leef_version = match members.text("leef_version")?.as_deref() {
        None | Some("2.0") => 2,
        Some("1.0") => 1,
        Some(_) => return Err(String::from("destination.format_options.leef_version is not \"1.0\" or \"2.0\".")),
    };
    members.finish()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn refusal(json: &Value) -> String {
        Destination::parse(json).map(|_| ()).expect_err(&json.to_string())
    }

    #[test]
    fn each_type_is_read() {
        for json in [
            json!({"type": "webhook", "url": "https://x/", "secret": "s", "authorization": "t", "ca": "ca.pem"}),
            json!({"type": "splunk_hec", "url": "https://x:8088", "secret": "s", "index": "audit", "acknowledge": true}),
            json!({"type": "datadog", "site": "datadoghq.eu", "secret": "s", "tags": "env:prod", "batch": 1000}),
            json!({"type": "syslog", "host": "x", "port": 6514, "hostname": "db1", "max_message": 8192}),
            json!({"type": "file", "directory": "a/b", "name": "audit", "max_bytes": 1_000_000, "format_options":
                {"activities": {"signed": "update"}, "type_prefix": "com.example", "leef_version": "1.0"}}),
        ] {
            assert!(Destination::parse(&json).is_ok(), "{json}");
        }
    }

    #[test]
    fn a_member_that_is_not_known_is_named() {
        let refused = refusal(&json!({"type": "webhook", "url": "https://x/", "secret": "s", "retries": 3}));
        assert_eq!(
            refused,
            "destination.retries is not known; the members are authorization, batch, ca, format_options, \
                             insecure, secret, timeout, type, url."
        );
        let refused = refusal(&json!({"type": "file", "format_options": {"leef": 1}}));
        assert!(refused.starts_with("destination.format_options.leef is not known"), "{refused}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let url = "https://x/";
        for (json, name) in [
            (json!(3), "destination "),
            (json!({}), "destination.type "),
            (json!({"type": "s3"}), "destination.type "),
            (json!({"type": 1}), "destination.type "),
            (json!({"type": "webhook", "secret": "s"}), "destination.url "),
            (json!({"type": "webhook", "url": url}), "destination.secret "),
            (json!({"type": "webhook", "url": url, "secret": "../../etc/passwd"}), "destination.secret "),
            (json!({"type": "webhook", "url": url, "secret": "s", "ca": "/etc/passwd"}), "destination.ca "),
            (json!({"type": "webhook", "url": url, "secret": "s", "batch": 0}), "destination.batch "),
            (json!({"type": "webhook", "url": url, "secret": "s", "batch": 1.5}), "destination.batch "),
            (json!({"type": "webhook", "url": url, "secret": "s", "insecure": "yes"}), "destination.insecure "),
            (json!({"type": "datadog", "site": "evil.example/x?", "secret": "s"}), "destination.site "),
            (json!({"type": "syslog", "host": "x", "port": 65536}), "destination.port "),
            (json!({"type": "syslog", "host": "x\n"}), "destination.host "),
            (
                json!({"type": "file", "format_options": {"activities": {"a": "b"}}}),
                "destination.format_options.activities ",
            ),
            (
                json!({"type": "file", "format_options": {"leef_version": "3"}}),
                "destination.format_options.leef_version ",
            ),
        ] {
            let refused = refusal(&json);
            assert!(refused.starts_with(name), "{json}: {refused}");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            Just(json!([])),
            Just(json!({"a": "read"})),
            prop::sample::select(vec!["https://x/", "localhost", "http://[::1", "x", "-", "a/b", "1.0"])
                .prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_or_refused_with_a_sentence(
            kind in prop::sample::select(vec!["webhook", "splunk_hec", "datadog", "syslog", "file"]),
            members in prop::collection::btree_map(prop::sample::select(vec!["url", "secret", "ca", "insecure", "batch", "timeout",
                "host", "port", "site", "directory", "name", "max_bytes", "format_options", "acknowledge", "enterprise", "confirm"]),
                json_value(), 0..6)
        ) {
            let mut json = json!(members);
            json["type"] = json!(kind);
            if let Err(sentence) = Destination::parse(&json) {
                prop_assert!(sentence.starts_with("destination.") && sentence.ends_with('.'), "{sentence}");
                prop_assert!(!sentence.contains('\n'));
            }
        }
    }

    #[test]
    fn a_webhook_takes_json() {
        let webhook = |batch: u8| {
            Destination::parse(&json!({"type": "webhook", "url": "https://x/", "secret": "s", "batch": batch})).unwrap()
        };
        assert!(webhook(1).accepts(Format::Json).is_ok() && webhook(9).accepts(Format::CloudEvents).is_ok());
        assert!(webhook(1).accepts(Format::Cef).is_err() && webhook(9).accepts(Format::Ocsf).is_err());
    }
}

//! Datadog's intake of logs, version 2.

use super::batches::{send, Batches, Limits};
use super::delivery::{later, Delivery};
use super::members::Members;
use super::receiver::Receiver;
use crate::deliveries::formats::view::{millis, View};
use crate::deliveries::item::Item;
use crate::deliveries::outcome::{Outcome, Sent};
use flate2::write::GzEncoder;
use flate2::Compression;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{json, Map, Value};
use std::io::Write;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// Datadog cuts off what is longer, and still answers 202.
const MAX_ITEM: usize = 1_000_000;
/// Datadog drops what is older, and still answers 202.
const MAX_AGE_HOURS: i64 = 18;
const LIMITS: Limits = Limits { items: 1000, bytes: 5_000_000 - 2 };

/// An intake.
#[derive(Debug)]
pub(crate) struct Datadog {
    receiver: Receiver,
    secret: String,
    fields: Vec<(&'static str, String)>,
    batch: usize,
}

impl Datadog {
    pub(crate) fn parse(members: &mut Members) -> Result<Datadog, String> {
        let site = members.text("site")?.unwrap_or_else(|| String::from("datadoghq.com"));
        if !site.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-')) {
            return Err(String::from("destination.site is not the name of a site, such as datadoghq.eu."));
        }
        let url = format!("https://http-intake.logs.{site}/api/v2/logs");
        let mut fields = Vec::new();
        for (member, name) in
            [("service", "service"), ("hostname", "hostname"), ("tags", "ddtags"), ("source", "ddsource")]
        {
            fields.extend(members.text_up_to(member, 1000)?.map(|value| (name, value)));
        }
        Ok(Datadog {
            receiver: Receiver::parse(members, Some(url))?,
            secret: members.secret("secret")?,
            fields,
            batch: usize::try_from(members.number("batch", 200, &(1..=1000))?).unwrap_or(1),
        })
    }

    pub(crate) async fn send(&self, delivery: &Delivery<'_>) -> Sent {
        let key = delivery.directories.secret(&self.secret).and_then(|key| {
            HeaderValue::from_str(&key).map_err(|_| String::from("The secret is not an API key of Datadog."))
        });
        let key = match key {
            Ok(key) => key,
            Err(reason) => return Sent { delivered: 0, outcome: later(reason) },
        };
        let lines = delivery.lines();
        let objects = delivery.items.iter().zip(lines).map(|(item, line)| self.object(item, line)).collect();
        let requests = Requests { datadog: self, delivery, key, objects };
        send(&requests, Limits { items: self.batch, ..LIMITS }, delivery.began).await
    }

    fn object(&self, item: &Item, line: String) -> String {
        let mut object = Map::new();
        object.insert(String::from("ddsource"), json!("immutable"));
        object.insert(String::from("service"), json!("immutable"));
        for (name, value) in &self.fields {
            object.insert((*name).to_owned(), json!(value));
        }
        object.insert(String::from("timestamp"), json!(millis(View::of(item).time())));
        // Datadog reads the members of a message that is JSON.
        object.insert(String::from("message"), Value::String(line));
        Value::Object(object).to_string()
    }
}

struct Requests<'a> {
    datadog: &'a Datadog,
    delivery: &'a Delivery<'a>,
    key: HeaderValue,
    objects: Vec<String>,
}

impl Batches for Requests<'_> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn size(&self, item: usize) -> Result<usize, String> {
        let size = self.objects[item].len();
        if size > MAX_ITEM {
            return Err(format!("The item has {size} bytes, and Datadog cuts off what is longer than {MAX_ITEM}."));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        let age = i64::try_from(now).unwrap_or(i64::MAX) - millis(View::of(&self.delivery.items[item]).time());
        if age > MAX_AGE_HOURS * 3_600_000 {
            return Err(format!("The item is older than {MAX_AGE_HOURS} hours, and Datadog drops it."));
        }
        Ok(size + 1)
    }

    async fn post(&self, items: Range<usize>) -> Option<Outcome> {
        let body = format!("[{}]", self.objects[items].join(","));
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = match packed.write_all(body.as_bytes()).and_then(|()| packed.finish()) {
            Ok(packed) => packed,
            Err(error) => return Some(later(error.to_string())),
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(HeaderName::from_static("dd-api-key"), self.key.clone());
        let receiver = &self.datadog.receiver;
        match receiver.post(&receiver.url, headers, packed, self.delivery.directories).await {
            Ok(answer) => answer.outcome(""),
            Err(outcome) => Some(outcome),
        }
    }
}

//! Splunk's HTTP Event Collector, with or without indexer acknowledgement.

use super::batches::{send, Batches, Limits};
use super::delivery::{later, Delivery};
use super::members::Members;
use super::receiver::{Answer, Receiver};
use crate::deliveries::formats::render;
use crate::deliveries::formats::view::{micros, View};
use crate::deliveries::item::Item;
use crate::deliveries::outcome::{Outcome, Sent};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, AUTHORIZATION, CONTENT_TYPE};
use reqwest::Url;
use serde_json::{json, Map, Number, Value};
use std::ops::Range;
use std::time::{Duration, Instant};

/// As much goes into one request. Older collectors take no more.
const BYTES: usize = 1_000_000;
/// The indexers have this time to acknowledge a batch.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);
/// Codes of the collector that say the data is wrong, and not its configuration.
const REFUSALS: [i64; 5] = [5, 6, 12, 13, 15];

/// A collector.
#[derive(Debug)]
pub(crate) struct Splunk {
    receiver: Receiver,
    secret: String,
    fields: Vec<(&'static str, String)>,
    acknowledge: bool,
    batch: usize,
    /// The channel of this program, which acknowledgements belong to.
    channel: String,
}

impl Splunk {
    pub(crate) fn parse(members: &mut Members) -> Result<Splunk, String> {
        let mut receiver = Receiver::parse(members, None)?;
        if receiver.url.path() == "/" {
            receiver.url.set_path("/services/collector/event");
        }
        let mut fields = Vec::new();
        for name in ["host", "source", "sourcetype", "index"] {
            fields.extend(members.text(name)?.map(|value| (name, value)));
        }
        Ok(Splunk {
            receiver,
            secret: members.secret("secret")?,
            fields,
            acknowledge: members.flag("acknowledge", false)?,
            batch: usize::try_from(members.number("batch", 100, &(1..=1000))?).unwrap_or(1),
            channel: uuid::Uuid::new_v4().to_string(),
        })
    }

    pub(crate) async fn send(&self, delivery: &Delivery<'_>) -> Sent {
        let headers = delivery.directories.secret(&self.secret).and_then(|token| self.headers(&token));
        let headers = match headers {
            Ok(headers) => headers,
            Err(reason) => return Sent { delivered: 0, outcome: later(reason) },
        };
        let objects = delivery.items.iter().map(|item| self.object(item, delivery)).collect();
        let requests = Requests { splunk: self, delivery, headers, objects };
        send(&requests, Limits { items: self.batch, bytes: BYTES }, delivery.began).await
    }

    fn headers(&self, token: &str) -> Result<HeaderMap, String> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| String::from("The secret is not a token of a collector."))
        };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value(&format!("Splunk {token}"))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static("x-splunk-request-channel"), value(&self.channel)?);
        Ok(headers)
    }

    fn object(&self, item: &Item, delivery: &Delivery) -> String {
        let mut object = Map::new();
        if let Some(micros) = micros(View::of(item).time()) {
            let seconds = format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
            object.extend(seconds.parse::<Number>().ok().map(|time| (String::from("time"), Value::Number(time))));
        }
        object.insert(String::from("source"), json!(format!("immutable:{}", item.stream)));
        object.insert(String::from("sourcetype"), json!(format!("immutable:{}", delivery.format.name())));
        for (name, value) in &self.fields {
            object.insert((*name).to_owned(), json!(value));
        }
        object.insert(String::from("event"), render::value(item, delivery.format, delivery.options));
        Value::Object(object).to_string()
    }
}

struct Requests<'a> {
    splunk: &'a Splunk,
    delivery: &'a Delivery<'a>,
    headers: HeaderMap,
    objects: Vec<String>,
}

impl Requests<'_> {
    async fn ask(&self, url: &Url, body: String) -> Result<Answer, Outcome> {
        let receiver = &self.splunk.receiver;
        receiver.post(url, self.headers.clone(), body.into_bytes(), self.delivery.directories).await
    }

    /// Waits until the indexers have the batch.
    async fn acknowledged(&self, answer: &Answer) -> Option<Outcome> {
        let Some(id) = member(answer, "ackId") else {
            return Some(later(
                "The collector gave no acknowledgement id: its token has none, so set acknowledge to false.",
            ));
        };
        let mut url = self.splunk.receiver.url.clone();
        url.set_path(&format!("{}/ack", url.path().trim_end_matches("/event").trim_end_matches('/')));
        url.set_query(Some(&format!("channel={}", self.splunk.channel)));
        let (began, mut pause) = (Instant::now(), Duration::from_millis(100));
        while began.elapsed() < ACKNOWLEDGED_WITHIN {
            match self.ask(&url, json!({"acks": [id]}).to_string()).await {
                Err(outcome) => return Some(outcome),
                Ok(answer) => {
                    if let Some(outcome) = answer.outcome(" when it was asked for acknowledgements") {
                        // What was sent is not what this is about, so nothing becomes a dead letter.
                        return Some(match outcome {
                            Outcome::Refused { reason } => later(reason),
                            outcome => outcome,
                        });
                    }
                    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    if body["acks"][id.to_string()] == json!(true) {
                        return None;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        Some(later("The indexers did not acknowledge the batch in time."))
    }
}

impl Batches for Requests<'_> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn size(&self, item: usize) -> Result<usize, String> {
        Ok(self.objects[item].len() + 1)
    }

    async fn post(&self, items: Range<usize>) -> Option<Outcome> {
        let answer = match self.ask(&self.splunk.receiver.url, self.objects[items].join("\n")).await {
            Ok(answer) => answer,
            Err(outcome) => return Some(outcome),
        };
        let code = member(&answer, "code");
        let detail = code.map(|code| format!(" and code {code}")).unwrap_or_default();
        match answer.outcome(&detail) {
            None if self.splunk.acknowledge => self.acknowledged(&answer).await,
            // The token, the index or the channel is wrong: an operator mends it.
            Some(Outcome::Refused { reason }) if code.is_some_and(|code| !REFUSALS.contains(&code)) => {
                Some(later(reason))
            }
            outcome => outcome,
        }
    }
}

/// A number in an answer of the collector.
fn member(answer: &Answer, name: &str) -> Option<i64> {
    serde_json::from_slice::<Value>(&answer.body).ok()?.get(name)?.as_i64()
}

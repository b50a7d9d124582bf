//! Webhooks: one event a request, or batches of CloudEvents.

use super::batches::{send, Batches, Limits};
use super::delivery::{later, Delivery};
use super::members::Members;
use super::receiver::Receiver;
use super::signature::Keys;
use crate::deliveries::formats::cloudevents;
use crate::deliveries::formats::format::Format;
use crate::deliveries::outcome::{Outcome, Sent};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, AUTHORIZATION, CONTENT_TYPE};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// As much goes into one batch.
const BYTES: usize = 1_000_000;

/// A receiver of webhooks.
#[derive(Debug)]
pub(crate) struct Webhook {
    receiver: Receiver,
    secret: String,
    authorization: Option<String>,
    pub(crate) batch: usize,
}

impl Webhook {
    pub(crate) fn parse(members: &mut Members) -> Result<Webhook, String> {
        Ok(Webhook {
            receiver: Receiver::parse(members, None)?,
            secret: members.secret("secret")?,
            authorization: members.file_name("authorization")?,
            batch: usize::try_from(members.number("batch", 1, &(1..=1000))?).unwrap_or(1),
        })
    }

    pub(crate) async fn send(&self, delivery: &Delivery<'_>) -> Sent {
        let secrets = delivery.directories.secret(&self.secret).and_then(|secret| {
            let authorization =
                self.authorization.as_ref().map(|name| delivery.directories.secret(name)).transpose()?;
            Ok((Keys::parse(&secret)?, authorization))
        });
        let (keys, authorization) = match secrets {
            Ok(secrets) => secrets,
            Err(reason) => return Sent { delivered: 0, outcome: later(reason) },
        };
        let requests = Requests { webhook: self, delivery, keys, authorization, lines: delivery.lines() };
        send(&requests, Limits { items: self.batch, bytes: BYTES }, delivery.began).await
    }
}

struct Requests<'a> {
    webhook: &'a Webhook,
    delivery: &'a Delivery<'a>,
    keys: Keys,
    authorization: Option<String>,
    lines: Vec<String>,
}

impl Requests<'_> {
    /// The body, its media type, and the id of the message.
    fn body(&self, items: Range<usize>) -> (String, &'static str, String) {
        let (first, last) = (items.start, items.end - 1);
        let id = &self.delivery.items[first].id;
        if self.webhook.batch > 1 {
            let id = format!("{id}+{}", &self.delivery.items[last].id);
            return (format!("[{}]", self.lines[items].join(",")), cloudevents::BATCH, id);
        }
        let media = if self.delivery.format == Format::CloudEvents { cloudevents::ONE } else { "application/json" };
        (self.lines[first].clone(), media, id.clone())
    }

    fn headers(&self, id: &str, media: &'static str, body: &[u8]) -> Result<HeaderMap, String> {
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut headers = HeaderMap::new();
        let mut put = |name: HeaderName, value: String| {
            let value = HeaderValue::from_str(&value)
                .map_err(|_| format!("{name} has a character that headers cannot have."))?;
            headers.insert(name, value);
            Ok::<(), String>(())
        };
        put(CONTENT_TYPE, media.to_owned())?;
        put(HeaderName::from_static("webhook-id"), id.to_owned())?;
        put(HeaderName::from_static("webhook-timestamp"), timestamp.to_string())?;
        put(HeaderName::from_static("webhook-signature"), self.keys.standard(id, timestamp, body))?;
        put(HeaderName::from_static("x-immutable-signature"), self.keys.own(body))?;
        if let Some(authorization) = &self.authorization {
            put(AUTHORIZATION, authorization.clone())?;
        }
        Ok(headers)
    }
}

impl Batches for Requests<'_> {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn size(&self, item: usize) -> Result<usize, String> {
        Ok(self.lines[item].len() + 1)
    }

    async fn post(&self, items: Range<usize>) -> Option<Outcome> {
        let (body, media, id) = self.body(items);
        let headers = match self.headers(&id, media, body.as_bytes()) {
            Ok(headers) => headers,
            Err(reason) => return Some(later(reason)),
        };
        let receiver = &self.webhook.receiver;
        match receiver.post(&receiver.url, headers, body.into_bytes(), self.delivery.directories).await {
            Ok(answer) => answer.outcome(""),
            Err(outcome) => Some(outcome),
        }
    }
}

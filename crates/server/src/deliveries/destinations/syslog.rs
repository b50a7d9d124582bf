//! Syslog (RFC 5424) over TLS (RFC 5425) or TCP, with octet counting (RFC 6587).
//!
//! Syslog has no acknowledgements, and what TCP has taken may be lost on the way. So each batch has a
//! connection of its own: it counts as delivered once the receiver has closed its side after ours, because
//! a receiver that has not read everything breaks the connection instead.

use super::batches::{send, Batches, Limits};
use super::delivery::{later, Delivery};
use super::members::Members;
use super::receiver::is_loopback;
use super::tls;
use crate::deliveries::formats::text::picture;
use crate::deliveries::formats::view::View;
use crate::deliveries::item::{Item, Kind};
use crate::deliveries::outcome::{Outcome, Sent};
use rustls::pki_types::ServerName;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// As much goes over one connection.
const BYTES: usize = 4_000_000;
/// Facility 13, log audit.
const FACILITY: u8 = 13;

/// A receiver of syslog.
pub(crate) struct Syslog {
    host: String,
    port: u16,
    tls: bool,
    authority: Option<String>,
    hostname: Option<String>,
    app_name: String,
    enterprise: u64,
    max_message: Option<usize>,
    confirm: bool,
    timeout: Duration,
    batch: usize,
    connector: Mutex<Option<TlsConnector>>,
}

impl Syslog {
    pub(crate) fn parse(members: &mut Members) -> Result<Syslog, String> {
        let host = members.required("host")?;
        let tls = members.flag("tls", true)?;
        if !members.flag("insecure", false)? && !tls && !is_loopback(&host) {
            return Err(String::from(
                "destination.tls is false, so everyone on the way reads along: use TLS, or set insecure to true.",
            ));
        }
        let mut name = |member: &'static str, max: usize| match members.text_up_to(member, max)? {
            Some(name) if !name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(format!("destination.{member} has a character other than those from ! to ~."))
            }
            name => Ok(name),
        };
        let (hostname, app_name) = (name("hostname", 255)?, name("app_name", 48)?);
        let max_message = members.number("max_message", 0, &(0..=100_000_000))?;
        Ok(Syslog {
            port: u16::try_from(members.number("port", if tls { 6514 } else { 601 }, &(1..=65535))?).unwrap_or(6514),
            authority: members.file_name("ca")?,
            // 32473 is the number that RFC 5612 gives to examples.
            enterprise: members.number("enterprise", 32473, &(1..=u64::from(u32::MAX)))?,
            confirm: members.flag("confirm", true)?,
            timeout: members.timeout()?,
            connector: Mutex::new(None),
            batch: usize::try_from(members.number("batch", 500, &(1..=1000))?).unwrap_or(1),
            max_message: usize::try_from(max_message).ok().filter(|max| *max > 0),
            app_name: app_name.unwrap_or_else(|| String::from("immutable")),
            host,
            tls,
            hostname,
        })
    }

    pub(crate) async fn send(&self, delivery: &Delivery<'_>) -> Sent {
        let lines = delivery.lines();
        let messages = delivery.items.iter().zip(&lines).map(|(item, line)| self.message(item, line)).collect();
        let connections = Connections { syslog: self, delivery, messages };
        send(&connections, Limits { items: self.batch, bytes: BYTES }, delivery.began).await
    }

    fn message(&self, item: &Item, line: &str) -> String {
        let severity = if item.kind == Kind::AlertTriggered { 4 } else { 6 };
        format!(
            "<{}>1 {} {} {} - {} {} {line}",
            FACILITY * 8 + severity,
            View::of(item).recorded().unwrap_or("-"),
            self.hostname.as_deref().unwrap_or("-"),
            self.app_name,
            item.kind.name(),
            structured_data(item, self.enterprise),
        )
    }

    /// Sends messages over a connection of their own.
    async fn deliver(&self, messages: &[String], delivery: &Delivery<'_>) -> Result<(), String> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await;
        let tcp = tcp.map_err(|error| format!("The receiver cannot be reached: {error}."))?;
        if !self.tls {
            return self.exchange(tcp, messages).await;
        }
        let host = self.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host).map_err(|_| String::from("destination.host is not the name of a host."))?;
        let stream = self.connector(delivery)?.connect(name, tcp).await;
        self.exchange(stream.map_err(|error| format!("The receiver cannot be reached: {error}."))?, messages).await
    }

    /// The authorities are read once: those of the system are many.
    fn connector(&self, delivery: &Delivery) -> Result<TlsConnector, String> {
        let mut kept = self.connector.lock().map_err(|error| error.to_string())?;
        if let Some(connector) = kept.as_ref() {
            return Ok(connector.clone());
        }
        let config = tls::config(self.authority.as_deref(), delivery.directories)?;
        Ok(kept.insert(TlsConnector::from(Arc::new(config))).clone())
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        messages: &[String],
    ) -> Result<(), String> {
        let broken = |error: Error| format!("The connection broke: {error}.");
        for message in messages {
            stream.write_all(format!("{} {message}", message.len()).as_bytes()).await.map_err(broken)?;
        }
        stream.flush().await.map_err(broken)?;
        stream.shutdown().await.map_err(broken)?;
        if !self.confirm {
            return Ok(());
        }
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(0) => Ok(()),
            // Many receivers close a connection without the farewell of TLS.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            Ok(_) => Err(String::from("The receiver answers, which receivers of syslog do not.")),
            Err(error) => Err(broken(error)),
        }
    }
}

/// What a search needs, without reading the message.
fn structured_data(item: &Item, enterprise: u64) -> String {
    let mut out = format!("[immutable@{enterprise}");
    let mut put = |name: &str, value: Option<&str>| {
        let Some(value) = value else { return };
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        for char in value.chars() {
            if matches!(char, '"' | '\\' | ']') {
                out.push('\\');
            }
            out.push(picture(char));
        }
        out.push('"');
    };
    put("id", Some(&item.id));
    put("log", Some(&item.log_id));
    put("stream", Some(&item.stream));
    if let View::Alert(alert) = View::of(item) {
        put("rule", alert.text("rule_name"));
    }
    if let Some(event) = View::of(item).event() {
        put("tenant", event.text("tenant_id"));
        put("action", Some(event.action()));
        put("actor", event.actor("id"));
        put("lane", event.lane().map(|lane| lane.to_string()).as_deref());
        put("seq", event.seq().map(|seq| seq.to_string()).as_deref());
        put("hash", event.event_hash());
    }
    out.push(']');
    out
}

impl fmt::Debug for Syslog {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "Syslog({}:{})", self.host, self.port)
    }
}

struct Connections<'a> {
    syslog: &'a Syslog,
    delivery: &'a Delivery<'a>,
    messages: Vec<String>,
}

impl Batches for Connections<'_> {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn size(&self, item: usize) -> Result<usize, String> {
        let size = self.messages[item].len();
        match self.syslog.max_message {
            Some(max) if size > max => Err(format!("The message has {size} bytes, and max_message is {max}.")),
            _ => Ok(size + 9),
        }
    }

    async fn post(&self, items: Range<usize>) -> Option<Outcome> {
        match tokio::time::timeout(self.syslog.timeout, self.syslog.deliver(&self.messages[items], self.delivery)).await
        {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(later(reason)),
            Err(_) => Some(later(format!(
                "The receiver did not take the batch and close the connection within {} seconds.",
                self.syslog.timeout.as_secs()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::formats::samples;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn syslog(json: &serde_json::Value) -> Result<Syslog, String> {
        let mut members = Members::of(json, "destination.")?;
        let syslog = Syslog::parse(&mut members)?;
        members.finish()?;
        Ok(syslog)
    }

    /// The parameters of the first element, and what follows it.
    fn parse(data: &str) -> (BTreeMap<String, String>, String) {
        let mut chars = data.strip_prefix("[immutable@32473").expect("an element").chars();
        let mut members = BTreeMap::new();
        loop {
            match chars.next() {
                Some(']') => return (members, chars.collect()),
                Some(' ') => {
                    let name: String = chars.by_ref().take_while(|char| *char != '=').collect();
                    assert_eq!(chars.next(), Some('"'));
                    let mut value = String::new();
                    loop {
                        match chars.next().expect("the end of a value") {
                            '"' => break,
                            '\\' => value.push(chars.next().expect("an escaped character")),
                            char => value.push(char),
                        }
                    }
                    members.insert(name, value);
                }
                other => panic!("{other:?} in structured data"),
            }
        }
    }

    #[test]
    fn a_message_has_the_header_of_rfc_5424() {
        let syslog = syslog(&json!({"host": "h", "hostname": "db1"})).unwrap();
        let message = syslog.message(&samples::event(), "text");
        let head = "<110>1 2026-03-15T14:32:18.851900Z db1 immutable - event.created [immutable@32473 id=\"";
        assert!(message.starts_with(head) && message.ends_with("] text"), "{message}");
        assert!(syslog.message(&samples::alert(), "").starts_with("<108>1 2026-03-26T08:45:12.500000Z "));
    }

    #[test]
    fn without_tls_it_says_so() {
        assert!(syslog(&json!({"host": "localhost", "tls": false})).is_ok());
        assert!(syslog(&json!({"host": "10.0.0.1", "tls": false, "insecure": true})).is_ok());
        assert!(syslog(&json!({"host": "10.0.0.1", "tls": false})).unwrap_err().contains("insecure"));
        assert!(syslog(&json!({"host": "h", "app_name": "a b"})).unwrap_err().contains("destination.app_name"));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(action in "(?s).{1,40}", actor in "(?s).{1,40}") {
            let mut item = samples::event();
            item.json["action"] = json!(action);
            item.json["actor"]["id"] = json!(actor);
            let (members, rest) = parse(&structured_data(&item, 32473));
            prop_assert_eq!(rest, "");
            prop_assert_eq!(&members["action"], &crate::deliveries::formats::text::pictures(&action));
            prop_assert_eq!(&members["actor"], &crate::deliveries::formats::text::pictures(&actor));
        }
    }
}

//! A receiver that speaks HTTP: requests to it, and what its answers mean.

use super::delivery::later;
use super::members::Members;
use super::tls;
use crate::deliveries::directories::Directories;
use crate::deliveries::outcome::Outcome;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use std::error::Error;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for the body of an answer, once its status is known.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// As much of an answer is read.
const MAX_BODY: usize = 4096;
/// A receiver may ask for no longer pause.
const MAX_PAUSE: Duration = Duration::from_secs(86_400);

/// Where a receiver is. It keeps its connections.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: Url,
    authority: Option<String>,
    timeout: Duration,
    client: Mutex<Option<Client>>,
}

/// What a receiver answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    retry_after: Option<Duration>,
    /// The first 4 KB.
    pub(crate) body: Vec<u8>,
}

impl Receiver {
    /// Reads the members `url`, `insecure`, `ca` and `timeout`. `default` is the URL of a destination that has one.
    ///
    /// # Errors
    /// A sentence that names the member which is wrong.
    pub(crate) fn parse(members: &mut Members, default: Option<String>) -> Result<Receiver, String> {
        let text = members.text_up_to("url", 2048)?.or(default).ok_or("destination.url is missing.")?;
        let insecure = members.flag("insecure", false)?;
        let authority = members.file_name("ca")?;
        let timeout = members.timeout()?;
        let url = Url::parse(&text).map_err(|error| format!("destination.url is not a URL: {error}."))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(String::from("destination.url does not begin with https:// and a host."));
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(String::from("destination.url has a user, a password or a fragment, which it must not have."));
        }
        if url.scheme() == "http" && !insecure && !is_loopback(url.host_str().unwrap_or_default()) {
            return Err(String::from(
                "destination.url begins with http://, so everyone on the way reads along: use https, or set insecure to true.",
            ));
        }
        Ok(Receiver { url, authority, timeout, client: Mutex::new(None) })
    }

    /// A client with the receiver's authorities, which follows no redirect and asks the proxy that the environment names.
    fn client(&self, directories: &Directories) -> Result<Client, String> {
        let mut kept = self.client.lock().map_err(|error| error.to_string())?;
        if let Some(client) = kept.as_ref() {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls::config(self.authority.as_deref(), directories)?)
            .redirect(Policy::none())
            .timeout(self.timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("immutable-server/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| self.reason_of(&error))?;
        Ok(kept.insert(client).clone())
    }

    /// Posts a body, and reads the answer.
    ///
    /// # Errors
    /// The outcome, if there was no answer.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
        directories: &Directories,
    ) -> Result<Answer, Outcome> {
        let client = self.client(directories).map_err(later)?;
        let request = client.post(url.clone()).headers(headers).body(body);
        let mut response = request.send().await.map_err(|error| later(self.reason_of(&error)))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(pause);
        let mut body = Vec::new();
        // The status is all that counts, so a body that does not end is left unread.
        let _ = tokio::time::timeout(BODY_TIMEOUT, async {
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(chunk.get(..MAX_BODY - body.len()).unwrap_or(&chunk));
                if body.len() >= MAX_BODY {
                    break;
                }
            }
        })
        .await;
        Ok(Answer { status, retry_after, body })
    }

    /// Why there was no answer. The URL may hold a token, so it is left out.
    fn reason_of(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("The receiver did not answer within {} seconds.", self.timeout.as_secs());
        }
        let mut deepest: &dyn Error = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        let what = if error.is_connect() { "The receiver cannot be reached" } else { "The request failed" };
        if std::ptr::addr_eq(deepest, std::ptr::from_ref(error)) {
            return format!("{what}.");
        }
        format!("{what}: {deepest}.")
    }
}

impl Answer {
    /// What the status means. None for 2xx. `detail` is what the receiver's own protocol adds, without values of events.
    pub(crate) fn outcome(&self, detail: &str) -> Option<Outcome> {
        let reason = format!("The receiver answered with status {}{detail}.", self.status);
        match self.status {
            200..=299 => None,
            410 => Some(Outcome::SwitchedOff { reason }),
            300..=399 => Some(later(format!("{reason} Redirects are not followed: change the URL."))),
            // What an operator mends, or time: rights, the URL, a proxy, the rate.
            401..=405 | 407 | 408 | 421 | 423 | 425 | 429 | 500.. => {
                Some(Outcome::Retry { reason, after: self.retry_after })
            }
            400..=499 => Some(Outcome::Refused { reason }),
            _ => Some(later(reason)),
        }
    }
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The pause that `Retry-After` names: seconds, or a time.
fn pause(value: &str) -> Option<Duration> {
    let pause = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(pause.min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(json: &serde_json::Value) -> Result<Receiver, String> {
        Receiver::parse(&mut Members::of(json, "destination.").unwrap(), None)
    }

    #[test]
    fn a_url_is_https_or_of_this_machine() {
        for url in ["https://siem.example.com/x?y=z", "http://127.0.0.1:8/", "http://[::1]/", "http://localhost/"] {
            assert!(parse(&json!({"url": url})).is_ok(), "{url}");
        }
        assert!(parse(&json!({"url": "http://10.0.0.1/", "insecure": true})).is_ok());
        for url in [
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "ftp://x/",
            "file:///etc/passwd",
            "x",
            "https://u:p@x/",
            "https://u@x/",
            "https://x/#f",
            "data:,x",
            "https://",
        ] {
            let refused = parse(&json!({"url": url})).expect_err(url);
            assert!(refused.starts_with("destination.url"), "{refused}");
        }
    }

    #[test]
    fn a_status_has_one_meaning() {
        let outcome = |status| Answer { status, retry_after: None, body: vec![] }.outcome("");
        assert!((200..300).all(|status| outcome(status).is_none()));
        assert!(matches!(outcome(410), Some(Outcome::SwitchedOff { .. })));
        for status in [400, 406, 409, 413, 415, 422, 431] {
            assert!(matches!(outcome(status), Some(Outcome::Refused { .. })), "{status}");
        }
        for status in [301, 302, 308, 401, 403, 404, 405, 407, 408, 425, 429, 500, 502, 503, 504, 599, 999] {
            assert!(matches!(outcome(status), Some(Outcome::Retry { .. })), "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_time() {
        assert_eq!(pause("120"), Some(Duration::from_secs(120)));
        assert_eq!(pause("99999999"), Some(MAX_PAUSE));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!((pause("-1"), pause("soon")), (None, None));
    }
}

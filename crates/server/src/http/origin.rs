//! Where a request comes from, as far as trusted proxies say.

use crate::app::App;
use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts, HeaderMap, HeaderName};
use ipnet::IpNet;
use std::convert::Infallible;
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of the connection. The listener puts it beside each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Whether the connection itself is encrypted.
    pub(crate) tls: bool,
}

/// Where a request comes from, and how its client reached the program.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The client's address; None only where there is no connection, as in unit tests.
    pub(crate) address: Option<IpAddr>,
    /// The program's address as the client knows it, for links: --public-url, or scheme and host. No slash at its end.
    pub(crate) base_url: String,
}

impl FromRequestParts<App> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().copied();
        let trusted = &app.options.listening.trusted_proxy;
        let address = peer.map(|peer| client(peer.address, &parts.headers, trusted));
        let base_url = match &app.options.http.public_url {
            Some(url) => url.clone(),
            None => reached(peer, &parts.headers, trusted),
        };
        Ok(Origin { address, base_url })
    }
}

/// The client's address: of the chain of addresses that ends with the peer, the last that is no trusted proxy.
/// What stands before that one is the client's own claim.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut nearest = plain(peer);
    if trusted.is_empty() {
        return nearest;
    }
    let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("?")).collect();
    for claim in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(nearest, trusted) {
            break;
        }
        // A proxy that writes no address says nothing about who came before it.
        let Some(address) = address(claim.trim()) else { break };
        nearest = address;
    }
    nearest
}

/// An address as proxies write it: alone, with a port, or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(address, _)| address);
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    bare.parse().ok().or_else(with_port).map(plain)
}

/// A client over IPv4 has the same address whichever socket took its connection.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Scheme and host as the client used them. Names that are no host's are left out, because links are made of them.
fn reached(peer: Option<Peer>, headers: &HeaderMap, trusted: &[IpNet]) -> String {
    let by_proxy = peer.is_some_and(|peer| is_trusted(plain(peer.address), trusted));
    let last = |name: &HeaderName| {
        let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
        line.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
    };
    let forwarded = |name: &HeaderName| if by_proxy { last(name) } else { None };
    let scheme = match forwarded(&FORWARDED_PROTO) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        Some(_) => "http",
        None if peer.is_some_and(|peer| peer.tls) => "https",
        None => "http",
    };
    let host = forwarded(&FORWARDED_HOST).or_else(|| last(&header::HOST)).filter(|host| is_host(host));
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

fn is_host(text: &str) -> bool {
    text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn seen(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_counts() {
        let proxies = &["10.0.0.0/8", "fd00::/8"][..];
        assert_eq!(seen("203.0.113.1", &["198.51.100.1"], &[]), "203.0.113.1");
        assert_eq!(seen("203.0.113.1", &["198.51.100.1"], proxies), "203.0.113.1");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4, 198.51.100.1"], proxies), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4, 198.51.100.1,10.9.9.9"], proxies), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["1.2.3.4", "198.51.100.1", "10.9.9.9"], proxies), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1, nonsense"], proxies), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1:4711"], proxies), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::1]:4711"], proxies), "2001:db8::1");
        assert_eq!(seen("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], proxies), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["\u{e9}"], proxies), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.2, 10.0.0.3"], proxies), "10.0.0.2");
    }

    proptest! {
        #[test]
        fn whoever_is_no_proxy_cannot_claim_another_address(lines in prop::collection::vec("[ -~]{0,60}", 0..4)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            prop_assert_eq!(seen("203.0.113.1", &lines, &["10.0.0.0/8"]), "203.0.113.1");
        }

        #[test]
        fn what_a_proxy_adds_last_counts_whatever_stands_before(line in "[ -~]{0,60}") {
            let line = format!("{line}, 198.51.100.7");
            prop_assert_eq!(seen("10.0.0.1", &[&line], &["10.0.0.0/8"]), "198.51.100.7");
        }
    }
}

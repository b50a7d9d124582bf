//! How to connect, as the operator writes it: as libpq takes it, as far as the driver does.
//!
//! The driver knows three of the six words for sslmode, and no sslrootcert. So both are taken out here.

use std::str::FromStr;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::Config;

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing: the connection is encrypted, to whomever.
    None,
    /// That a known authority signed it.
    Authority,
    /// That it is also the certificate of this host.
    Host,
}

/// A server, and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) check: Check,
    /// The file with the authorities' certificates; None for the system's.
    pub(crate) root_file: Option<String>,
}

impl Address {
    /// Reads keywords and values, or a URI.
    ///
    /// # Errors
    /// A sentence for the operator. It does not repeat the text, which may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        let is_uri = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let (rest, taken) = if is_uri { from_uri(text)? } else { from_words(text)? };
        let mut config = Config::from_str(&rest).map_err(|e| describe(&e))?;
        let value = |name: &str| taken.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let root_file = value("sslrootcert").filter(|file| *file != "system").map(str::to_owned);
        let is_system = value("sslrootcert") == Some("system");
        let word = value("sslmode").unwrap_or(if is_system { "verify-full" } else { "prefer" });
        let (mode, check) = match word {
            "disable" => (SslMode::Disable, Check::None),
            "allow" | "prefer" => (SslMode::Prefer, Check::None),
            // With a file of authorities, libpq checks them also here.
            "require" if root_file.is_some() => (SslMode::Require, Check::Authority),
            "require" => (SslMode::Require, Check::None),
            "verify-ca" => (SslMode::Require, Check::Authority),
            "verify-full" => (SslMode::Require, Check::Host),
            _ => return Err(String::from("sslmode must be disable, prefer, require, verify-ca or verify-full")),
        };
        // As with libpq, a socket of the same machine is not encrypted.
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(if is_local { SslMode::Disable } else { mode });
        if config.get_hosts().is_empty() {
            return Err(String::from("it names no host"));
        }
        if config.get_user().is_none() {
            return Err(String::from("it names no user"));
        }
        Ok(Address { config, check, root_file })
    }
}

fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn is_taken(name: &str) -> bool {
    matches!(name, "sslmode" | "sslrootcert")
}

type Taken = Vec<(String, String)>;

fn from_uri(text: &str) -> Result<(String, Taken), String> {
    let Some((base, query)) = text.split_once('?') else { return Ok((text.to_owned(), Vec::new())) };
    let (mut rest, mut taken) = (Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a parameter of the URI has no value")?;
        match is_taken(name) {
            true => taken.push((name.to_owned(), unescaped(value))),
            false => rest.push(pair),
        }
    }
    let mark = if rest.is_empty() { "" } else { "?" };
    Ok((format!("{base}{mark}{}", rest.join("&")), taken))
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.bytes());
        let byte = after.get(..2).and_then(|hex| hex::decode(hex).ok());
        bytes.extend(byte.as_deref().unwrap_or(b"%"));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    bytes.extend(rest.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Keywords and values: `name = value`, where a value may be in single quotes, with backslashes.
fn from_words(text: &str) -> Result<(String, Taken), String> {
    let (mut rest, mut taken) = (String::new(), Vec::new());
    let mut left = text.trim_start();
    while !left.is_empty() {
        let (name, after) = left.split_once('=').ok_or("a keyword has no value")?;
        let (value, after) = value(after.trim_start())?;
        let name = name.trim();
        if is_taken(name) {
            taken.push((name.to_owned(), value));
        } else {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            rest.extend([name, "='", &quoted, "' "]);
        }
        left = after.trim_start();
    }
    Ok((rest, taken))
}

fn value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut letters = text.char_indices().skip(usize::from(quoted));
    let mut value = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            ' ' | '\t' | '\n' if !quoted => return Ok((value, &text[at..])),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    match quoted {
        true => Err(String::from("a quoted value does not end")),
        false => Ok((value, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (SslMode, Check, Option<String>, Config) {
        let address = Address::parse(text).unwrap();
        (address.config.get_ssl_mode(), address.check, address.root_file, address.config)
    }

    #[test]
    fn sslmode_means_what_libpq_means() {
        let mode = |word: &str| {
            let (mode, check, ..) = read(&format!("host=db user=u {word}"));
            (mode, check)
        };
        assert_eq!(mode(""), (SslMode::Prefer, Check::None));
        assert_eq!(mode("sslmode=disable"), (SslMode::Disable, Check::None));
        assert_eq!(mode("sslmode=require"), (SslMode::Require, Check::None));
        assert_eq!(mode("sslmode=require sslrootcert=/ca.pem"), (SslMode::Require, Check::Authority));
        assert_eq!(mode("sslmode='verify-ca'"), (SslMode::Require, Check::Authority));
        assert_eq!(mode("sslmode = verify-full"), (SslMode::Require, Check::Host));
        assert_eq!(mode("sslrootcert=system"), (SslMode::Require, Check::Host));
        assert!(Address::parse("host=db user=u sslmode=verify").is_err());
    }

    #[test]
    fn words_and_uris_are_read_alike() {
        let (mode, check, root, config) =
            read(r"host=db user=u password='a\'b c\\' port=5433 sslmode=verify-full sslrootcert=/a\ b.pem");
        assert_eq!((mode, check, root.as_deref()), (SslMode::Require, Check::Host, Some("/a b.pem")));
        assert_eq!((config.get_password(), config.get_ports()), (Some(&br"a'b c\"[..]), &[5433][..]));
        let (mode, check, root, config) =
            read("postgresql://u:p%40w@db:5433/log?sslmode=verify-ca&application_name=x&sslrootcert=%2Fa%20b.pem");
        assert_eq!((mode, check, root.as_deref()), (SslMode::Require, Check::Authority, Some("/a b.pem")));
        assert_eq!((config.get_password(), config.get_dbname()), (Some(&b"p@w"[..]), Some("log")));
        assert_eq!(config.get_application_name(), Some("x"));
    }

    #[test]
    fn a_socket_is_not_encrypted() {
        assert_eq!(read("host=/run/postgresql user=u sslmode=require").0, SslMode::Disable);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for wrong in [
            "user=u",
            "host=db",
            "host",
            "host=db user=u password='geheim",
            "host=db user=u password=geheim nonsense=1",
            "postgres://u:geheim@db:port/log",
            "postgres://u:geheim@db/log?x",
        ] {
            let said = Address::parse(wrong).unwrap_err();
            assert!(!said.contains("geheim"), "{said}");
        }
    }
}

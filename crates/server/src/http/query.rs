//! The query of a request: names and values, decoded.

use super::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// The parameters of a request, in their order.
#[derive(Debug, Default)]
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Takes a query apart, as forms are encoded.
    ///
    /// # Errors
    /// 422 with the parameter's name, for what is not UTF-8.
    pub(crate) fn parse(text: &str) -> Result<Query, Problem> {
        let mut parameters = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let shown = String::from_utf8_lossy(&decoded(name)).into_owned();
            let refuse = |_| Problem::invalid(&shown, "A query parameter is not UTF-8.");
            let name = String::from_utf8(decoded(name)).map_err(refuse)?;
            parameters.push((name, String::from_utf8(decoded(value)).map_err(refuse)?));
        }
        Ok(Query { parameters })
    }

    /// The value of a parameter. An empty one is none, as clients send it for a filter that is not set.
    ///
    /// # Errors
    /// 422 for a parameter that is there twice with different values.
    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        match values.any(|value| Some(value) != first) {
            true => Err(Problem::invalid(name, format!("The {name} parameter is given more than once."))),
            false => Ok(first),
        }
    }

    /// All values of a parameter that are not empty.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.parameters.iter().filter(move |(given, _)| given == name);
        of_name.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number within bounds; None if the parameter is not given.
    ///
    /// # Errors
    /// 422 for anything else.
    pub(crate) fn number(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::invalid(name, format!("The {name} parameter must be a number from {least} to {most}."))),
        }
    }

    /// All parameters, in their order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::parse(parts.uri.query().unwrap_or_default())
    }
}

fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => match text.get(at + 1..at + 3).and_then(|hex| hex::decode(hex).ok()) {
                Some(byte) => {
                    out.extend(byte);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(query: &str, name: &str) -> Result<Option<String>, u16> {
        let refused = |problem: Problem| problem.status.as_u16();
        Query::parse(query).map_err(refused)?.one(name).map(|value| value.map(str::to_owned)).map_err(refused)
    }

    #[test]
    fn parameters_are_read_as_clients_send_them() {
        assert_eq!(one("action=document.%2A", "action"), Ok(Some("document.*".to_owned())));
        assert_eq!(one("action=document.*&limit=5", "action"), Ok(Some("document.*".to_owned())));
        assert_eq!(
            one("from=2026-03-01+00%3A00%3A00%2B02%3A00", "from"),
            Ok(Some("2026-03-01 00:00:00+02:00".to_owned()))
        );
        assert_eq!(one("q=a%20b", "q"), Ok(Some("a b".to_owned())));
        assert_eq!(one("actor_id=&x", "actor_id"), Ok(None));
        assert_eq!(one("a=%zz%4", "a"), Ok(Some("%zz%4".to_owned())));
        assert_eq!(one("a=1&a=1&a=", "a"), Ok(Some("1".to_owned())));
        assert_eq!(one("a=1&a=2", "a"), Err(422));
        assert_eq!(one("a=%ff", "b"), Err(422));
        assert_eq!(one("%ff=a", "b"), Err(422));
        assert_eq!(one("a=x%00y", "a"), Ok(Some("x\0y".to_owned())));
    }

    #[test]
    fn numbers_are_held_to_their_bounds() {
        let number = |query| Query::parse(query).unwrap().number("limit", 1, 100).map_err(|p| p.status.as_u16());
        assert_eq!(number("limit=25"), Ok(Some(25)));
        assert_eq!(number("limit="), Ok(None));
        for wrong in ["limit=0", "limit=101", "limit=-1", "limit=abc", "limit=1.0", "limit=99999999999999999999"] {
            assert_eq!(number(wrong), Err(422), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(text in "\\PC{0,60}") {
            let _ = Query::parse(&text);
        }
    }
}

//! The parameters of a request's query, of which none is passed over in silence: a filter that is
//! misspelt would show more than was asked for.

use crate::http::problem::Problem;
use crate::http::query::Query;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// The parameters that a request has.
pub(crate) struct Parameters(Query);

impl Parameters {
    /// These alone are known here.
    ///
    /// # Errors
    /// 422 for any other, and for a NUL, which no text of PostgreSQL's has.
    pub(crate) fn only(self, known: &[&str]) -> Result<Known, Problem> {
        for (name, value) in self.0.parameters() {
            if !known.contains(&name) {
                let mut problem = Problem::invalid(name, format!("There is no {name} parameter here."));
                problem.body.hint = Some(format!("The parameters are {}.", known.join(", ")));
                return Err(problem);
            }
            if value.contains('\0') {
                return Err(Problem::invalid(name, format!("The {name} parameter must not have a NUL.")));
            }
        }
        Ok(Known(self.0))
    }
}

/// Parameters whose names are all known.
pub(crate) struct Known(Query);

impl Known {
    /// The value of a parameter; None for an empty one.
    ///
    /// # Errors
    /// 422 for one that is given with several values.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        Ok(self.0.one(name)?.map(str::to_owned))
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// 422 for anything else.
    pub(crate) fn within(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Problem> {
        self.0.number(name, least, most)
    }

    /// The same for a whole number whose bounds the log knows, as the text that SQL takes.
    ///
    /// # Errors
    /// 422 for any other text.
    pub(crate) fn number(&self, name: &str) -> Result<Option<String>, Problem> {
        let Some(given) = self.0.one(name)? else { return Ok(None) };
        match given.parse::<i32>() {
            Ok(number) => Ok(Some(number.to_string())),
            Err(_) => Err(Problem::invalid(name, format!("The {name} parameter must be a whole number."))),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Parameters(Query::from_request_parts(parts, state).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(query: &str) -> Result<Known, u16> {
        let refused = |problem: Problem| problem.status.as_u16();
        Parameters(Query::parse(query).map_err(refused)?).only(&["a", "limit"]).map_err(refused)
    }

    #[test]
    fn what_is_doubtful_is_refused() {
        for query in ["b=1", "a=1&b=", "a=%00", "A=1", "a=1&tenantId=2"] {
            assert_eq!(known(query).err(), Some(422), "{query}");
        }
        let known = known("a=x&limit=+7").unwrap_or_else(|_| unreachable!());
        assert_eq!(known.text("a").unwrap().as_deref(), Some("x"));
        assert!(known.number("limit").is_err());
    }

    #[test]
    fn numbers_are_whole() {
        for (query, number) in
            [("limit=7", Some("7")), ("limit=", None), ("limit=-1", Some("-1")), ("limit=007", Some("7"))]
        {
            assert_eq!(known(query).unwrap().number("limit").unwrap().as_deref(), number, "{query}");
        }
        for query in ["limit=abc", "limit=1.5", "limit=99999999999", "limit=1e2", "limit=0x10"] {
            assert!(known(query).unwrap().number("limit").is_err(), "{query}");
        }
    }
}

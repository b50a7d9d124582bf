//! The members of a request's JSON object. One that is not known is refused: to leave out a filter
//! that is misspelt would open or export more than was asked for.

use crate::http::body::JsonText;
use crate::http::problem::Problem;
use serde_json::{Map, Value};

/// The members of a body.
#[derive(Debug)]
pub(crate) struct Members(Map<String, Value>);

impl Members {
    /// Reads an object. Nothing, and the empty array that PHP writes for an empty object, are empty
    /// ones.
    ///
    /// # Errors
    /// 400 for what is no JSON, 422 for another value and for a member that is not `known`.
    pub(crate) fn read(body: &JsonText, known: &[&str]) -> Result<Members, Problem> {
        let members = body.members()?;
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                let mut problem = Problem::invalid(name, format!("There is no member {name} here."));
                problem.body.hint = Some(format!("The members are {}.", known.join(", ")));
                Err(problem)
            }
            None => Ok(Members(members)),
        }
    }

    /// A text. A number is one too, because some clients send ids so; null is none.
    ///
    /// # Errors
    /// 422 for another value, and for a text with a NUL.
    pub(crate) fn take_text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => {
                Err(Problem::invalid(name, format!("The {name} field must not have a NUL.")))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
            Some(_) => Err(Problem::invalid(name, format!("The {name} field must be a text."))),
        }
    }

    /// A text of which two spellings are known.
    ///
    /// # Errors
    /// The same, and 422 where both are given.
    pub(crate) fn take_either(&mut self, name: &str, other: &str) -> Result<Option<String>, Problem> {
        match (self.take_text(name)?, self.take_text(other)?) {
            (Some(_), Some(_)) => Err(Problem::invalid(name, format!("Give {name} or {other}, not both."))),
            (one, two) => Ok(one.or(two)),
        }
    }

    /// A whole number, or a text of one, as the text that SQL takes.
    ///
    /// # Errors
    /// 422 for another value.
    pub(crate) fn take_number(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let given = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text,
            Some(_) => String::new(),
        };
        match given.parse::<i32>() {
            Ok(number) => Ok(Some(number.to_string())),
            Err(_) => Err(Problem::invalid(name, format!("The {name} field must be a whole number."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Members, u16> {
        Members::read(&JsonText::of(body), &["a", "b"]).map_err(|e| e.status.as_u16())
    }

    #[test]
    fn an_empty_body_has_no_members() {
        for body in ["", " \n", "{}", "[]"] {
            assert!(read(body).unwrap().take_text("a").unwrap().is_none(), "{body}");
        }
        for (body, status) in
            [("{", 400), ("nul", 400), ("NaN", 400), ("[1]", 422), ("\"a\"", 422), (r#"{"c":1}"#, 422)]
        {
            assert_eq!(read(body).err(), Some(status), "{body}");
        }
    }

    #[test]
    fn values_are_texts_and_numbers() {
        for (body, text) in [(r#"{"a":"x"}"#, Some("x")), (r#"{"a":7}"#, Some("7")), (r#"{"a":null}"#, None)] {
            assert_eq!(read(body).unwrap().take_text("a").unwrap().as_deref(), text, "{body}");
        }
        for body in [r#"{"a":true}"#, r#"{"a":1.5}"#, r#"{"a":{}}"#, r#"{"a":["x"]}"#, r#"{"a":"\u0000"}"#] {
            assert!(read(body).unwrap().take_text("a").is_err(), "{body}");
        }
        assert!(read(r#"{"a":"x","b":"x"}"#).unwrap().take_either("a", "b").is_err());
        assert_eq!(read(r#"{"b":"x"}"#).unwrap().take_either("a", "b").unwrap().as_deref(), Some("x"));
        assert_eq!(read(r#"{"a":"60"}"#).unwrap().take_number("a").unwrap().as_deref(), Some("60"));
        for body in [r#"{"a":true}"#, r#"{"a":1.5}"#, r#"{"a":""}"#, r#"{"a":99999999999}"#] {
            assert!(read(body).unwrap().take_number("a").is_err(), "{body}");
        }
    }
}

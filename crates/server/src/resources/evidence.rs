//! The member `evidence` of a page of events: what its reader needs to verify it, read in the statement
//! that reads the page, so that both see the same events.

use super::page;
use crate::http::problem::Problem;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The parameter that asks for it. It is no filter, and no cursor carries it.
pub(crate) const EVIDENCE: &str = "evidence";

/// Whether a value of the parameter asks for evidence.
///
/// # Errors
/// 422 for any other value than true and false.
pub(crate) fn is_asked(value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::invalid(EVIDENCE, "The evidence parameter must be true or false.")),
    }
}

/// The page as the log returns it, with its evidence.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    evidence: Option<&'a RawValue>,
}

/// Puts the evidence of the page that was found into the page as HTTP has it.
///
/// # Errors
/// 500 if one of the texts is no page.
pub(crate) fn put(found: &str, page: String) -> Result<String, Problem> {
    let Found { evidence } = serde_json::from_str(found).map_err(|_| page::unreadable())?;
    let Some(evidence) = evidence else { return Ok(page) };
    let members = page.strip_suffix('}').ok_or_else(page::unreadable)?;
    Ok(format!("{members},\"evidence\":{}}}", evidence.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_evidence_keeps_its_text() {
        let found = r#"{"data": [], "evidence": {"events": {}, "n": 1.10}}"#;
        let put = |found| put(found, String::from(r#"{"data":[],"pagination":{}}"#)).unwrap_or_default();
        assert_eq!(put(found), r#"{"data":[],"pagination":{},"evidence":{"events": {}, "n": 1.10}}"#);
        assert_eq!(put(r#"{"data": []}"#), r#"{"data":[],"pagination":{}}"#);
    }

    #[test]
    fn it_is_asked_for_by_true_alone() {
        for (value, asked) in
            [(None, Some(false)), (Some("false"), Some(false)), (Some("true"), Some(true)), (Some("1"), None)]
        {
            assert_eq!(is_asked(value).ok(), asked, "{value:?}");
        }
    }
}

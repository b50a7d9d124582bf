//! Whether an event fits the action schemas. This is decided before a lane is taken.

use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Reader;
use crate::write::schemas::cache::{self, Entry, Own};
use crate::write::schemas::document::{value_of, Verdict};
use crate::write::schemas::metered::Failed;
use crate::write::schemas::table::Mode;
use crate::write::schemas::warnings::{note, Warning};
use immutable_format::event::RESERVED;
use immutable_format::limits::{CANONICAL_BYTES, NESTING};
use std::rc::Rc;

/// Why an event does not fit.
pub struct Misfit {
    code: Code,
    pub field: &'static str,
    pub message: String,
    hint: &'static str,
}

impl Misfit {
    fn raise(self) -> ! {
        Fault::new(self.code, self.message).field(self.field).hint(self.hint).raise()
    }
}

/// Refuses an event that does not fit in strict mode: 23514; 54000 if that cannot be found out within
/// the steps that a validation may take; 55000 if the schemas were damaged. In permissive mode,
/// track() warns. `metadata` is asked for only if a schema needs it. The log's own events are exempt:
/// no other has such an action.
pub fn admit<'m>(tenant_id: &str, action: &str, metadata: impl FnOnce() -> Option<Reader<'m>>) {
    let Some(schemas) = cache::of_tenant(tenant_id) else { return };
    if action.starts_with(RESERVED) {
        return;
    }
    let Some(misfit) = judge(&schemas, action, metadata) else { return };
    match mode(&schemas) {
        Ok(Mode::Strict) => misfit.raise(),
        Ok(Mode::Permissive) => note(|| Warning { field: misfit.field, message: misfit.message }),
        Err(()) => damaged("the mode of the action schemas is neither strict nor permissive").raise(),
    }
}

/// The mode for a tenant: its own, or else the log's, or else permissive.
pub fn mode(schemas: &[Rc<Own>; 2]) -> Result<Mode, ()> {
    let [log, own] = schemas;
    own.mode.or(log.mode).unwrap_or(Ok(Mode::Permissive))
}

/// How an event does not fit; None if it does.
pub fn judge<'m>(
    schemas: &[Rc<Own>; 2],
    action: &str,
    metadata: impl FnOnce() -> Option<Reader<'m>>,
) -> Option<Misfit> {
    let [log, own] = schemas;
    if !log.has_patterns() && !own.has_patterns() {
        return None;
    }
    // The more specific pattern counts; of two that are the same, the tenant's.
    let entry = match (log.find(action), own.find(action)) {
        (Some((log, than)), Some((own, specificity))) => {
            if specificity >= than {
                own
            } else {
                log
            }
        }
        (Some((entry, _)), None) | (None, Some((entry, _))) => entry,
        (None, None) if log.is_damaged || own.is_damaged => {
            return Some(damaged("a row of immutable.action_schemas has no valid pattern"));
        }
        (None, None) => {
            return Some(Misfit {
                code: Code::ERRCODE_CHECK_VIOLATION,
                field: "action",
                message: format!("Action '{action}' does not match any configured schema pattern."),
                hint: "An administrator can allow the action with immutable.set_action_schema().",
            });
        }
    };
    judge_metadata(entry, metadata)
}

fn judge_metadata<'m>(entry: &Entry, metadata: impl FnOnce() -> Option<Reader<'m>>) -> Option<Misfit> {
    let Ok(document) = entry.document() else {
        let pattern = &entry.pattern;
        return Some(damaged(&format!("the schema for metadata of pattern \"{pattern}\" cannot be used")));
    };
    let document = document?;
    let metadata = match metadata().map(|metadata| metadata.value(NESTING, CANONICAL_BYTES)) {
        Some(Ok(metadata)) => value_of(&metadata),
        Some(Err(_)) => return None, // such an event was not recorded here, and verification reports it
        None => serde_json::Value::Object(serde_json::Map::new()),
    };
    let pattern = &entry.pattern;
    match document.check(&metadata) {
        Verdict::Fits => None,
        Verdict::Breaks(broken) => Some(Misfit {
            code: Code::ERRCODE_CHECK_VIOLATION,
            field: "metadata",
            message: format!("metadata does not fit the schema of pattern \"{pattern}\": {broken}"),
            hint: "immutable.get_action_schemas() shows the schema.",
        }),
        Verdict::Failed(Failed::Exhausted) => Some(Misfit {
            code: Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            field: "metadata",
            message: format!("it takes too long to compare metadata with the schema of pattern \"{pattern}\""),
            hint: "Simplify the schema: references inside anyOf and oneOf multiply, and long regular expressions take \
                   long for long texts.",
        }),
        Verdict::Failed(Failed::Panicked) => {
            Some(damaged(&format!("the schema for metadata of pattern \"{pattern}\" cannot be used")))
        }
    }
}

fn damaged(message: &str) -> Misfit {
    Misfit {
        code: Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        field: "action",
        message: message.to_string(),
        hint: "Somebody has changed the table by hand. Set or delete the pattern or the mode again, with \
               immutable.set_action_schema(), immutable.delete_action_schema() or \
               immutable.set_action_schema_mode().",
    }
}

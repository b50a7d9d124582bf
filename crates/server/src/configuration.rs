//! The configuration file: TOML with the flags' names.

use clap::{ArgAction, Command};
use std::path::Path;
use toml::{Table, Value};

/// What the file sets: the id of each flag, and its values as texts.
///
/// # Errors
/// A sentence for the operator, if the file cannot be read, is not TOML, or has a name that is no flag.
pub(crate) fn settings(file: &Path, command: &Command) -> Result<Vec<(String, Vec<String>)>, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    of_text(&text, command).map_err(|reason| format!("{shown}: {reason}"))
}

/// The same of the text of a file.
///
/// # Errors
/// A sentence for the operator, without the name of the file.
pub(crate) fn of_text(text: &str, command: &Command) -> Result<Vec<(String, Vec<String>)>, String> {
    let table: Table = text.parse().map_err(|e| format!("not TOML: {e}"))?;
    table.into_iter().map(|(name, value)| setting(&name, value, command)).collect()
}

fn setting(name: &str, value: Value, command: &Command) -> Result<(String, Vec<String>), String> {
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(name) && !["config", "help", "version"].contains(&name))
        .ok_or_else(|| format!("there is no setting {name}"))?;
    let values = match value {
        Value::Array(values) if matches!(argument.get_action(), ArgAction::Append) => values,
        Value::Array(_) => return Err(format!("{name} takes one value")),
        value => vec![value],
    };
    let texts: Result<Vec<String>, String> = values.into_iter().map(|value| text(name, value)).collect();
    Ok((argument.get_id().to_string(), texts?))
}

fn text(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(is) => Ok(is.to_string()),
        _ => Err(format!("{name} must be a text or a number")),
    }
}

//! Log lines, to standard error.

use crate::options::{LogFormat, Output};
use tracing_subscriber::EnvFilter;

/// Begins to write what the options say.
///
/// # Errors
/// A sentence for the operator, if the level is not one.
pub(crate) fn begin(output: &Output) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .parse(&output.log_level)
        .map_err(|error| format!("--log-level {}: {error}", output.log_level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
    match output.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
    Ok(())
}

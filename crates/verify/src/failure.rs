//! Why the program could not do what it was asked to, and what to do about it.

use crate::advice;
use serde_json::{json, Value};
use std::path::{Path, PathBuf};

/// Why the program could not read the files to their end.
pub struct Failure {
    file: PathBuf,
    line: Option<u64>,
    message: String,
    /// The advice.
    todo: &'static str,
}

impl Failure {
    pub fn file(file: &Path, message: String) -> Failure {
        Failure { file: file.to_path_buf(), line: None, todo: advice::on(&message), message }
    }

    pub fn line(file: &Path, line: u64, message: String) -> Failure {
        Failure { line: Some(line), ..Failure::file(file, message) }
    }

    /// The failure for a JSON object.
    pub fn as_json(&self) -> Value {
        let file = self.file.to_string_lossy();
        json!({"file": file, "line": self.line, "message": self.message, "hint": self.todo})
    }

    /// A line that is not one of an export. Its bytes may tell more than the message does.
    pub fn malformed(file: &Path, number: u64, message: String, line: &[u8]) -> Failure {
        let failure = Failure::line(file, number, message);
        let advice = advice::on_line(line, number == 1);
        match advice.what {
            Some(what) => Failure { message: what, todo: advice.todo, ..failure },
            None if advice::is_known(&failure.message) => failure,
            None => Failure { todo: advice.todo, ..failure },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.line {
            Some(line) => write!(f, ", line {line}: {}", self.message)?,
            None => write!(f, ": {}", self.message)?,
        }
        write!(f, "\n    {}", self.todo)
    }
}

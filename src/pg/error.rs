//! Errors as the client sees them: an SQLSTATE, a message that names the field, and a hint if the
//! user can act.

#![allow(unsafe_code)]

use pgrx::pg_sys::panic::{ErrorReport, ErrorReportable};
use pgrx::prelude::*;
pub use pgrx::PgSqlErrorCode as Code;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

thread_local! {
    /// The field of the last fault. PostgreSQL's own error record has a place for it, but it does
    /// not survive the way through pgrx, and track_batch() reports it.
    static FIELD: RefCell<Option<String>> = const { RefCell::new(None) };
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A refusal, raised with [`Fault::raise`].
#[derive(Debug)]
pub struct Fault {
    code: Code,
    message: String,
    field: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
}

impl Fault {
    /// A refusal with this SQLSTATE and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Fault { code, message: message.into(), field: None, detail: None, hint: None }
    }

    /// A value that a parameter or column does not accept (22023).
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Fault::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, message).field(field)
    }

    /// Names the field, column or argument that the refusal is about.
    pub fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_string());
        self
    }

    /// Adds a DETAIL: complete sentences.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a HINT: complete sentences that say what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Raises the error; the transaction or subtransaction is aborted.
    pub fn raise(self) -> ! {
        FIELD.with(|field| *field.borrow_mut() = self.field.clone());
        let raised: Result<std::convert::Infallible, ErrorReport> = Err(self.report());
        match raised.unwrap_or_report() {}
    }

    /// Sends a warning to the client. The statement goes on.
    pub fn warn(self) {
        self.report().report(PgLogLevel::WARNING);
    }

    /// Sends a notice to the client. The statement goes on.
    pub fn notice(self) {
        self.report().report(PgLogLevel::NOTICE);
    }

    /// Writes it only into the server's log, with the level LOG.
    pub fn log(self) {
        self.report().report(PgLogLevel::LOG_SERVER_ONLY);
    }

    fn report(self) -> ErrorReport {
        let mut report = ErrorReport::new(self.code, self.message, "immutable");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report
    }
}

/// Runs `body`. An error with this code becomes the one that `instead` makes.
pub fn in_place_of<T>(code: Code, instead: impl FnOnce() -> Fault, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        use pgrx::pg_sys::panic::CaughtError::{ErrorReport, PostgresError};
        match payload.downcast_ref() {
            Some(PostgresError(report) | ErrorReport(report)) if report.sql_error_code() == code => instead().raise(),
            _ => resume_unwind(payload),
        }
    })
}

/// Returns the field of the last fault that was raised, and forgets it.
pub fn take_field() -> Option<String> {
    FIELD.with(|field| field.borrow_mut().take())
}

/// A message of level DEBUG1. It is only built if a session asks for that level.
pub fn debug(message: std::fmt::Arguments) {
    // SAFETY: reads settings of the one thread there is.
    if unsafe { pgrx::pg_sys::message_level_is_interesting(PgLogLevel::DEBUG1 as i32) } {
        pgrx::debug1!("immutable: {message}");
    }
}

/// Raises XX000 for a state that only a bug or a damaged catalog can cause.
pub fn internal(message: &str) -> ! {
    Fault::new(Code::ERRCODE_INTERNAL_ERROR, format!("immutable: {message}")).raise()
}

/// Keeps the text of the running command out of the server's log, where PostgreSQL would write it
/// with an error.
pub fn hide_statement() {
    // SAFETY: sets a variable of the one thread there is, which may be null.
    unsafe { pgrx::pg_sys::debug_query_string = std::ptr::null() };
}

/// Removes the panic hook. If RUST_BACKTRACE is set in the server's environment, the hook would put
/// a backtrace into the DETAIL that clients read.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().is::<&str>() || panic.payload().is::<String>() {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            PANIC_PLACE.with(|known| *known.borrow_mut() = place);
        }
    }));
}

/// Runs the body of a function. A panic becomes an error without internal text for the client, and
/// a line with that text in the server's log.
pub fn contain<T>(body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let Some(text) = panic_text(&payload) else { resume_unwind(payload) };
        let place = PANIC_PLACE.with(|place| std::mem::take(&mut *place.borrow_mut()));
        ereport!(
            PgLogLevel::LOG_SERVER_ONLY,
            Code::ERRCODE_INTERNAL_ERROR,
            format!("immutable: panic at {place}: {text}")
        );
        Fault::new(Code::ERRCODE_INTERNAL_ERROR, "immutable: internal error")
            .hint("The server's log has the details. Please report them.")
            .raise()
    })
}

fn panic_text(payload: &Box<dyn Any + Send>) -> Option<String> {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

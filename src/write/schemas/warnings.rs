//! What track() says of an event that was recorded although it does not fit the action schemas. A
//! plain INSERT says nothing: a warning for each row would flood the client, and the server's log.

use crate::pg::trigger::depth;
use immutable_format::json::write_string;
use std::cell::RefCell;

/// A warning: the field and a sentence.
pub struct Warning {
    pub field: &'static str,
    pub message: String,
}

/// An insert whose warnings are collected. Triggers may insert events as well, but they run deeper.
struct Listening {
    depth: i32,
    warnings: Vec<Warning>,
}

thread_local! {
    static LISTENING: RefCell<Option<Listening>> = const { RefCell::new(None) };
}

/// Runs `insert`, which inserts one event, and returns its warnings.
pub fn collect<T>(insert: impl FnOnce() -> T) -> (T, Vec<Warning>) {
    struct Restored(Option<Listening>);
    impl Drop for Restored {
        fn drop(&mut self) {
            LISTENING.replace(self.0.take());
        }
    }
    let _restored = Restored(LISTENING.replace(Some(Listening { depth: depth() + 1, warnings: Vec::new() })));
    let done = insert();
    let warnings = LISTENING
        .with_borrow_mut(|listening| listening.as_mut().map(|listening| std::mem::take(&mut listening.warnings)));
    (done, warnings.unwrap_or_default())
}

/// Keeps a warning for the caller, if it is collecting. The warning is only made then.
pub fn note(warning: impl FnOnce() -> Warning) {
    LISTENING.with_borrow_mut(|listening| {
        let Some(listening) = listening else { return };
        if depth() == listening.depth {
            listening.warnings.push(warning());
        }
    });
}

/// Appends the member `warnings` to the members of an object; nothing if there are none.
pub fn write(warnings: &[Warning], json: &mut String) {
    for (n, Warning { field, message }) in warnings.iter().enumerate() {
        json.push_str(if n == 0 { ",\"warnings\":[{\"field\":" } else { ",{\"field\":" });
        write_string(field, json);
        json.push_str(",\"message\":");
        write_string(message, json);
        json.push('}');
    }
    if !warnings.is_empty() {
        json.push(']');
    }
}

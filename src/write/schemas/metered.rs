//! Metadata as the validator of JSON Schema reads it: serde_json's values, with a meter. A schema
//! can ask for exponentially many steps, and a chain of references is followed on the stack, but an
//! insert must end, be cancelled, and never crash the server. So each step is counted, and beyond
//! the budget the validation is unwound.

use crate::pg::server;
use jsonschema::json::{Array, Json, Node, NodeIdentity, Object};
use jsonschema::JsonType;
use serde_json::{Map, Number, Value};
use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// What a validation may take.
#[derive(Clone, Copy)]
pub struct Budget {
    pub steps: usize,
    /// Bytes that the largest regular expression may have.
    pub expression: usize,
    /// How many regular expressions the name of a member may be compared with.
    pub names: usize,
}

impl Budget {
    /// So many steps, without a regular expression.
    pub const fn of_steps(steps: usize) -> Budget {
        Budget { steps, expression: 0, names: 0 }
    }

    /// The steps for a text. A regular expression compares each of its bytes with up to all of its states.
    const fn of_text(self, bytes: usize) -> usize {
        1 + bytes / 32 + bytes.saturating_mul(self.expression) / STATES
    }
}

/// Bytes of a regular expression whose states one step compares with a byte of text.
const STATES: usize = 8192;

thread_local! {
    /// How many steps are left.
    static LEFT: Cell<usize> = const { Cell::new(0) };
    static BUDGET: Cell<Budget> = const { Cell::new(Budget::of_steps(0)) };
}

/// Why a validation did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It needs more steps, or a deeper stack, than it may take.
    Exhausted,
    /// The validator panicked.
    Panicked,
}

struct Exhausted;

/// Runs the validator's code, which may take so much. PostgreSQL's errors go on.
pub fn within<T>(budget: Budget, body: impl FnOnce() -> T) -> Result<T, Failed> {
    LEFT.set(budget.steps);
    BUDGET.set(budget);
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload: Box<dyn Any + Send>| {
        if payload.is::<Exhausted>() {
            Failed::Exhausted
        } else if payload.is::<&str>() || payload.is::<String>() {
            Failed::Panicked
        } else {
            resume_unwind(payload)
        }
    })
}

fn spend(steps: usize) {
    let left = LEFT.get();
    if left <= steps {
        resume_unwind(Box::new(Exhausted));
    }
    LEFT.set(left - steps);
    if left / 1024 != (left - steps) / 1024 {
        pgrx::check_for_interrupts!();
    }
}

/// Opening an object or array is where recursion comes by.
fn descend() {
    spend(1);
    if server::is_stack_deep() {
        resume_unwind(Box::new(Exhausted));
    }
}

/// The representation.
pub struct Metered;

impl Json for Metered {
    type Node<'a> = Seen<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;

    const KEYS_PER_LOOKUP: usize = 2;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_string()
    }

    fn with_string_node<T>(buffer: &mut Value, string: &str, f: impl FnOnce(Seen<'_>) -> T) -> T {
        *buffer = Value::String(string.to_string());
        f(Seen(buffer))
    }
}

/// A value that is validated.
#[derive(Clone, Copy)]
pub struct Seen<'a>(pub &'a Value);

/// The members of an object.
pub struct Members<'a>(&'a Map<String, Value>);

/// The elements of an array.
pub struct Elements<'a>(&'a [Value]);

impl<'a> Node<'a, Metered> for Seen<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Members<'a>> {
        descend();
        self.0.as_object().map(Members)
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        descend();
        self.0.as_array().map(|elements| Elements(elements))
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let string = self.0.as_str();
        // What reads a string, such as a regular expression, takes time with its length.
        spend(BUDGET.get().of_text(string.map_or(0, str::len)));
        string.map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        spend(1);
        self.0.as_number()
    }

    fn as_boolean(&self) -> Option<bool> {
        spend(1);
        self.0.as_bool()
    }

    fn is_null(&self) -> bool {
        spend(1);
        self.0.is_null()
    }

    fn json_type(&self) -> JsonType {
        spend(1);
        match self.0 {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        spend(1);
        Cow::Borrowed(self.0)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        // A reference asks for it, even one that leads to a schema that looks at nothing.
        descend();
        Some(NodeIdentity::new(std::ptr::from_ref::<Value>(self.0) as usize))
    }
}

impl<'a> Object<'a, Metered> for Members<'a> {
    type Node = Seen<'a>;
    type MemberName = &'a str;
    type MembersIter = MembersIter<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Seen<'a>> {
        spend(1);
        self.0.get(key.as_str()).map(Seen)
    }

    fn members(&self) -> MembersIter<'a> {
        MembersIter(self.0.iter())
    }
}

/// Goes through the members of an object.
pub struct MembersIter<'a>(serde_json::map::Iter<'a>);

impl<'a> Iterator for MembersIter<'a> {
    type Item = (&'a str, Seen<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        spend(1);
        let (key, value) = self.0.next()?;
        let budget = BUDGET.get();
        if budget.names > 0 {
            spend(budget.of_text(key.len()).saturating_mul(budget.names));
        }
        Some((key.as_str(), Seen(value)))
    }
}

impl<'a> Array<'a, Metered> for Elements<'a> {
    type Node = Seen<'a>;
    type ElementsIter = ElementsIter<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn elements(&self) -> ElementsIter<'a> {
        ElementsIter(self.0.iter())
    }
}

/// Goes through the elements of an array.
pub struct ElementsIter<'a>(std::slice::Iter<'a, Value>);

impl<'a> Iterator for ElementsIter<'a> {
    type Item = Seen<'a>;

    fn next(&mut self) -> Option<Seen<'a>> {
        spend(1);
        self.0.next().map(Seen)
    }
}

//! JSON Schema documents: what of a schema is accepted, and whether metadata fits one.

use crate::write::schemas::metered::{within, Failed, Metered, Seen};
use immutable_format::json;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Number, Value};

/// Bytes that the canonical text of a schema may have.
pub const BYTES: usize = 64 * 1024;
/// Levels that a schema may be nested.
pub const NESTING: usize = 32;
/// References that a schema may have. They are followed on the stack.
const REFERENCES: usize = 200;
/// Regular expressions that a schema may have. Each takes memory in every session.
const EXPRESSIONS: usize = 100;
/// Bytes that a compiled regular expression may have.
const EXPRESSION_BYTES: usize = 256 * 1024;

/// Steps that one validation may take: some milliseconds, and much more than metadata of 64 kB needs.
const STEPS: usize = 200_000;
/// Steps for finding out what does not fit, which takes longer for each.
const EXPLAINING_STEPS: usize = 20_000;

/// A schema that is ready for use.
pub struct Document(Validator<Metered>);

/// What a schema says of metadata.
pub enum Verdict {
    Fits,
    /// Where and why it does not, as a part of a sentence.
    Breaks(String),
    /// The validation did not end.
    Failed(Failed),
}

impl Document {
    /// Makes a schema ready.
    ///
    /// # Errors
    ///
    /// Why the schema cannot be used, as a sentence.
    pub fn compile(schema: &Value) -> Result<Document, String> {
        if !(schema.is_object() || schema.is_boolean()) {
            return Err("A schema is an object, true or false.".to_string());
        }
        let mut count = Count::default();
        count.add(schema);
        if count.references > REFERENCES {
            return Err(format!("It has {} references, but at most {REFERENCES} are allowed.", count.references));
        }
        if count.expressions > EXPRESSIONS {
            let found = count.expressions;
            return Err(format!("It has {found} regular expressions, but at most {EXPRESSIONS} are allowed."));
        }
        // The engine without backtracking takes time in proportion to the text, whatever the pattern.
        let patterns = PatternOptions::regex().size_limit(EXPRESSION_BYTES).dfa_size_limit(EXPRESSION_BYTES);
        let options = jsonschema::options_for::<Metered>().offline().with_pattern_options(patterns);
        match within(usize::MAX, || options.build(schema)) {
            Ok(Ok(validator)) => Ok(Document(validator)),
            Ok(Err(error)) => Err(explained(&error)),
            Err(_) => Err("The validator cannot read it.".to_string()),
        }
    }

    /// Whether metadata fits.
    pub fn check(&self, metadata: &Value) -> Verdict {
        match within(STEPS, || self.0.is_valid(Seen(metadata))) {
            Ok(true) => Verdict::Fits,
            // To explain takes longer, and has a smaller budget.
            Ok(false) => {
                match within(EXPLAINING_STEPS, || self.0.validate(Seen(metadata)).err().map(|error| broken(&error))) {
                    Ok(Some(broken)) => Verdict::Breaks(broken),
                    _ => Verdict::Breaks("it takes too long to say where".to_string()),
                }
            }
            Err(failed) => Verdict::Failed(failed),
        }
    }
}

/// What of a schema is limited.
#[derive(Default)]
struct Count {
    references: usize,
    expressions: usize,
}

impl Count {
    fn add(&mut self, schema: &Value) {
        match schema {
            Value::Array(elements) => elements.iter().for_each(|element| self.add(element)),
            Value::Object(members) => {
                for (name, value) in members {
                    match name.as_str() {
                        "$ref" | "$dynamicRef" | "$recursiveRef" => self.references += 1,
                        "pattern" => self.expressions += 1,
                        "patternProperties" => self.expressions += value.as_object().map_or(0, Map::len),
                        _ => {}
                    }
                    self.add(value);
                }
            }
            _ => {}
        }
    }
}

/// At most so many bytes of a path or of the validator's words go into a message.
const SHOWN_BYTES: usize = 200;

fn shown(text: &str) -> String {
    if text.len() <= SHOWN_BYTES {
        return text.to_string();
    }
    format!("{}…", &text[..text.floor_char_boundary(SHOWN_BYTES)])
}

/// Why the validator refuses a schema.
fn explained(error: &ValidationError) -> String {
    let at = error.instance_path().to_string();
    let at = if at.is_empty() { String::new() } else { format!(" at \"{}\"", shown(&at)) };
    format!("The validator says{at}: {}.", shown(&error.to_string()))
}

/// The place in metadata and the keyword of the schema that it does not fit. The value is not named,
/// because messages go into logs.
fn broken(error: &ValidationError) -> String {
    let at = error.instance_path().to_string();
    let keyword = shown(error.kind().keyword());
    let missing = match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => {
            format!(" (\"{}\" is missing)", shown(name))
        }
        _ => String::new(),
    };
    format!("at \"{}\", keyword {keyword}{missing}", shown(&at))
}

/// A value as the validator takes it. Integers of 64 bits are exact, and all other numbers are double
/// precision.
pub fn value_of(value: &json::Value) -> Value {
    match value {
        json::Value::Null => Value::Null,
        json::Value::Bool(value) => Value::Bool(*value),
        json::Value::Number(text) => Value::Number(number_of(text)),
        json::Value::String(text) => Value::String(text.to_string()),
        json::Value::Array(elements) => Value::Array(elements.iter().map(value_of).collect()),
        json::Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.to_string(), value_of(value))).collect())
        }
    }
}

fn number_of(text: &str) -> Number {
    if let Ok(integer) = text.parse::<i64>() {
        return integer.into();
    }
    if let Ok(integer) = text.parse::<u64>() {
        return integer.into();
    }
    let float = text.parse::<f64>().unwrap_or(0.0).clamp(f64::MIN, f64::MAX);
    Number::from_f64(float).unwrap_or_else(|| 0.into())
}

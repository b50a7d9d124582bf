//! JSON Schema documents: what of a schema is accepted, and whether metadata fits one.

use crate::write::schemas::metered::{within, Budget, Failed, Metered, Seen};
use immutable_format::json;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Number, Value};
use std::collections::HashMap;

/// Bytes that the canonical text of a schema may have.
pub const BYTES: usize = 64 * 1024;
/// Levels that a schema may be nested.
pub const NESTING: usize = 32;
/// References that a schema may have. They are followed on the stack.
const REFERENCES: usize = 200;
/// References that may be followed if each is, as often as it is come by.
const FOLLOWED: usize = 2000;
/// Regular expressions that a schema may have. Each takes memory in every session.
const EXPRESSIONS: usize = 100;
/// Bytes that a compiled regular expression may have. A schema is compiled with the least of these that
/// suffices, which then says how long a byte of text may take: where an expression has too many
/// states for a table, each byte is compared with each of them.
const EXPRESSION_BYTES: [usize; 5] = [1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18];

/// Steps that one validation may take: some milliseconds, and much more than metadata of 64 kB needs.
const STEPS: usize = 200_000;
/// Steps for finding out what does not fit, which takes longer for each.
const EXPLAINING_STEPS: usize = 20_000;

/// How many parts of a schema that look at nothing may be met with each step.
const BLANK_PARTS: usize = 32;

/// A schema that is ready for use.
pub struct Document {
    validator: Validator<Metered>,
    /// How much more than others a step takes.
    weight: usize,
    /// Bytes that its largest regular expression may have.
    expression: usize,
    /// How many regular expressions a member's name may be compared with.
    names: usize,
}

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
        let Survey { expressions, names, blank, .. } = Survey::of(schema)?;
        let mut refused = String::new();
        for expression in if expressions == 0 { &EXPRESSION_BYTES[..1] } else { &EXPRESSION_BYTES } {
            // The engine without backtracking takes time in proportion to the text, whatever the pattern.
            let patterns = PatternOptions::regex().size_limit(*expression).dfa_size_limit(EXPRESSION_BYTES[4]);
            let options = jsonschema::options_for::<Metered>().offline().with_pattern_options(patterns);
            match within(Budget::of_steps(usize::MAX), || options.build(schema)) {
                Ok(Ok(validator)) => {
                    return Ok(Document { validator, weight: 1 + blank / BLANK_PARTS, expression: *expression, names });
                }
                Ok(Err(error)) => refused = explained(&error),
                Err(_) => refused = "The validator cannot read it.".to_string(),
            }
        }
        Err(refused)
    }

    fn budget(&self, steps: usize) -> Budget {
        Budget { steps: steps / self.weight, expression: self.expression, names: self.names }
    }

    /// Whether metadata fits.
    pub fn check(&self, metadata: &Value) -> Verdict {
        match within(self.budget(STEPS), || self.validator.is_valid(Seen(metadata))) {
            Ok(true) => Verdict::Fits,
            // To explain takes longer, and has a smaller budget.
            Ok(false) => {
                let explained = || self.validator.validate(Seen(metadata)).err().map(|error| broken(&error));
                match within(self.budget(EXPLAINING_STEPS), explained) {
                    Ok(Some(broken)) => Verdict::Breaks(broken),
                    _ => Verdict::Breaks("it takes too long to say where".to_string()),
                }
            }
            Err(failed) => Verdict::Failed(failed),
        }
    }
}

/// Counts what of a schema is limited. A validation that meets no value of the metadata is not metered,
/// so what references multiply to is counted beforehand.
struct Survey<'v> {
    root: &'v Value,
    references: usize,
    expressions: usize,
    /// Regular expressions for names of members.
    names: usize,
    /// Parts that a validation meets without looking at a value.
    blank: usize,
    /// How many references are followed below a reference; None while that is being counted.
    followed: HashMap<&'v str, Option<usize>>,
}

impl<'v> Survey<'v> {
    fn of(root: &'v Value) -> Result<Survey<'v>, String> {
        let mut survey = Survey { root, references: 0, expressions: 0, names: 0, blank: 0, followed: HashMap::new() };
        survey.look(root)?;
        let Survey { references, expressions, .. } = survey;
        if references > REFERENCES {
            return Err(format!("It has {references} references, but at most {REFERENCES} are allowed."));
        }
        if expressions > EXPRESSIONS {
            return Err(format!("It has {expressions} regular expressions, but at most {EXPRESSIONS} are allowed."));
        }
        if survey.follow(root) > FOLLOWED {
            return Err(format!("Its references multiply: more than {FOLLOWED} would have to be followed."));
        }
        Ok(survey)
    }

    fn look(&mut self, schema: &'v Value) -> Result<(), String> {
        match schema {
            Value::Array(elements) => elements.iter().try_for_each(|element| self.look(element)),
            Value::Bool(_) => {
                self.blank += 1;
                Ok(())
            }
            Value::Object(members) if members.is_empty() => {
                self.blank += 1;
                Ok(())
            }
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                match (name.as_str(), value) {
                    ("$ref", Value::String(reference)) => {
                        self.references += 1;
                        if self.target(reference).is_none() {
                            let reference = shown(reference);
                            return Err(format!("The reference \"{reference}\" is not to a part of the schema itself, such as #/$defs/name."));
                        }
                    }
                    ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                        return Err(format!("It uses {name}. Use $ref."));
                    }
                    ("$id", Value::String(_)) if !std::ptr::eq(schema, self.root) => {
                        return Err("A part of it has an $id, so that references in it are to another document.".to_string());
                    }
                    ("$schema", Value::String(draft)) if draft.contains("draft-04") => {
                        return Err("Draft 4 is not supported.".to_string());
                    }
                    ("pattern", Value::String(_)) => self.expressions += 1,
                    ("patternProperties", Value::Object(patterns)) => {
                        self.expressions += patterns.len();
                        self.names += patterns.len();
                    }
                    (
                        "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" | "format" | "contentEncoding"
                        | "contentMediaType",
                        _,
                    ) => self.blank += 1,
                    _ => {}
                }
                self.look(value)
            }),
            _ => Ok(()),
        }
    }

    /// The part of the schema that a reference is to.
    fn target(&self, reference: &str) -> Option<&'v Value> {
        let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'))?;
        self.root.pointer(pointer)
    }

    /// How many references are followed from a part of the schema, each as often as it is come by. What
    /// leads back to where it is counted from is metered, because it meets the value again.
    fn follow(&mut self, schema: &'v Value) -> usize {
        match schema {
            Value::Array(elements) => elements.iter().fold(0, |sum, element| self.follow(element).saturating_add(sum)),
            Value::Object(members) => members.iter().fold(0, |sum, (name, value)| {
                let found = match (name.as_str(), value) {
                    ("$ref", Value::String(reference)) => self.follow_reference(reference).saturating_add(1),
                    // Nothing but a reference comes by a definition.
                    ("$defs" | "definitions", _) if std::ptr::eq(schema, self.root) => 0,
                    _ => self.follow(value),
                };
                found.saturating_add(sum)
            }),
            _ => 0,
        }
    }

    fn follow_reference(&mut self, reference: &'v str) -> usize {
        if let Some(known) = self.followed.get(reference) {
            return known.unwrap_or(0);
        }
        let Some(target) = self.target(reference) else { return 0 };
        self.followed.insert(reference, None);
        let followed = self.follow(target);
        self.followed.insert(reference, Some(followed));
        followed
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

//! The SQL functions that read a stored value, or say that it cannot be read, without raising an
//! error.

use crate::log::row::stored_text;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::jsonb::Reader;
use immutable_format::json::Text;
use immutable_format::limits;

sql_function!(immutable_is_readable_jsonb, pg_finfo_immutable_is_readable_jsonb, is_readable_jsonb);

/// `immutable.is_readable(jsonb)`
fn is_readable_jsonb(call: Call<'_>) -> Datum<'_> {
    let is_readable = call.arg(0).is_none_or(|datum| Reader::new(datum).is_some_and(Reader::is_sound));
    Datum::from(is_readable)
}

sql_function!(immutable_text_of, pg_finfo_immutable_text_of, text_of);

/// `immutable.text_of(jsonb)`
fn text_of(call: Call<'_>) -> Datum<'_> {
    let mut out = String::new();
    let mut text = Text::spaced(&mut out, limits::NESTING + 1);
    let read = call.arg(0).and_then(Reader::new).map(|reader| reader.read(&mut text));
    call.text(if let Some(Ok(())) = read { &out } else { "" })
}

sql_function!(immutable_text_of_text, pg_finfo_immutable_text_of_text, text_of_text);

/// `immutable.text_of(text)`
fn text_of_text(call: Call<'_>) -> Datum<'_> {
    call.text(call.arg(0).and_then(stored_text).unwrap_or_default())
}

sql_function!(immutable_is_readable_text, pg_finfo_immutable_is_readable_text, is_readable_text);

/// `immutable.is_readable(text)`
fn is_readable_text(call: Call<'_>) -> Datum<'_> {
    Datum::from(call.arg(0).is_none_or(|datum| stored_text(datum).is_some()))
}

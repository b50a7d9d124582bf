//! Verifies receipts, and shows the event of each.

use crate::failure::Failure;
use crate::options::ReceiptOptions;
use crate::report::{Verdict, UNREADABLE};
use crate::trust::{self, printable};
use immutable_format::export::read::Shown;
use immutable_format::id::uuid_text;
use immutable_format::json::Value as Canonical;
use immutable_format::limits;
use immutable_format::tlog::policy::Policy;
use immutable_format::tlog::receipt::{Receipt, Verified, MAX_BYTES};
use serde_json::{json, Map, Value};
use std::io::{self, Write};
use std::path::Path;

/// What is said of one file.
struct Said {
    status: u8,
    text: String,
    json: Value,
}

/// Verifies the receipts and prints what they show. Returns the exit status.
pub fn run(options: &ReceiptOptions) -> Result<u8, Failure> {
    let policy = trust::policy(&options.trust)?;
    let mut all = Vec::new();
    for path in &options.files {
        all.push(judge(path, policy.as_ref()));
    }
    // The worst: what could not be read, then what is not valid, then what nothing confirms.
    let worst = [UNREADABLE, Verdict::NotValid.status(), Verdict::NotAnchored.status()];
    let status = worst.into_iter().find(|status| all.iter().any(|said| said.status == *status)).unwrap_or(0);
    let printed = if options.json { print_json(&all, status) } else { print_text(&all) };
    Ok(printed.map_or(UNREADABLE, |()| status)) // nobody reads the output
}

fn print_json(all: &[Said], status: u8) -> io::Result<()> {
    let verdicts = [Verdict::Valid, Verdict::NotValid, Verdict::NotAnchored];
    let verdict = verdicts.into_iter().find(|verdict| verdict.status() == status);
    let receipts: Vec<&Value> = all.iter().map(|said| &said.json).collect();
    writeln!(io::stdout(), "{}", json!({"verdict": verdict.map(Verdict::words), "receipts": receipts}))
}

fn print_text(all: &[Said]) -> io::Result<()> {
    for (number, said) in all.iter().enumerate() {
        if said.status == UNREADABLE {
            write!(io::stderr(), "{}", said.text)?;
            continue;
        }
        let between = if number > 0 { "\n" } else { "" };
        write!(io::stdout(), "{between}{}", said.text)?;
    }
    io::stdout().flush()
}

fn judge(path: &Path, policy: Option<&Policy>) -> Said {
    let read = trust::read(path, MAX_BYTES).and_then(|bytes| {
        Receipt::parse(&bytes).map_err(|error| Failure::file(path, format!("not a receipt: {}", error.0)))
    });
    let receipt = match read {
        Ok(receipt) => receipt,
        Err(failure) => {
            let json = json!({"file": path.to_string_lossy(), "verdict": null, "error": failure.as_json()});
            return Said { status: UNREADABLE, text: format!("immutable-verify: {failure}\n"), json };
        }
    };
    let file = printable(&path.to_string_lossy());
    match receipt.verify(policy) {
        Ok(verified) => {
            let doubt = trust::doubt(policy, verified.judgement.as_ref());
            let verdict = if doubt.is_none() { Verdict::Valid } else { Verdict::NotAnchored };
            Said {
                status: verdict.status(),
                text: as_text(&file, &verified, doubt, verdict),
                json: as_json(path, &verified, doubt, verdict),
            }
        }
        Err(wrong) => {
            let verdict = Verdict::NotValid;
            let text = format!("receipt  {file}\n         {}\n{}\n", printable(&wrong.to_string()), verdict.words());
            let json = json!({"file": path.to_string_lossy(), "verdict": verdict.words(), "why": wrong.to_string()});
            Said { status: verdict.status(), text, json }
        }
    }
}

/// The members of the document that are not shown in another line.
fn open_members<'a>(shown: &Shown<'a>) -> Vec<(String, Canonical<'a>)> {
    let Ok(Canonical::Object(members)) = Canonical::parse(shown.document, limits::NESTING, limits::LINE_BYTES) else {
        return Vec::new();
    };
    let other = ["commitments", "id", "lane", "previous_event_hash", "seq", "tenant_id", "v"];
    let open = members.into_iter().filter(|(name, _)| !other.contains(&name.as_ref()));
    open.map(|(name, value)| (name.into_owned(), value)).collect()
}

fn hidden(shown: &Shown<'_>) -> String {
    let mut hidden: Vec<String> = shown.hidden_columns.iter().map(|column| printable(column)).collect();
    match shown.hidden_metadata {
        0 => {}
        1 => hidden.push("1 key of metadata".to_string()),
        keys => hidden.push(format!("{keys} keys of metadata")),
    }
    hidden.extend(shown.hidden_targets.iter().map(|target| format!("targets.{target}")));
    if hidden.is_empty() {
        hidden.push("nothing".to_string());
    }
    hidden.join(", ")
}

fn as_text(file: &str, verified: &Verified<'_>, doubt: Option<&str>, verdict: Verdict) -> String {
    let Verified { shown, event_hash, index, checkpoint, judgement } = verified;
    let place = &shown.event.position;
    let mut lines = vec![
        format!("receipt  {file}"),
        format!(
            "event    {} of tenant {:?}, lane {}, seq {}",
            uuid_text(&place.id),
            place.tenant_id,
            place.lane,
            place.seq
        ),
        format!("hash     {}", hex::encode(event_hash)),
        format!("log      {}", printable(&checkpoint.checkpoint.origin)),
        format!("tree     index {index} of {}", checkpoint.checkpoint.size),
    ];
    lines.extend(trust::cosigned(judgement.as_ref()).iter().map(|line| format!("cosigned {line}")));
    lines.extend(doubt.map(|doubt| format!("         {doubt}")));
    for (name, value) in open_members(shown) {
        let mut text = String::new();
        value.write(&mut text);
        lines.push(format!("open     {} {}", printable(&name), printable(&text)));
    }
    lines.extend(
        shown.disclosed.iter().map(|(path, value)| format!("shown    {} {}", printable(path), printable(value))),
    );
    lines.push(format!("hidden   {}", hidden(shown)));
    lines.push(verdict.words().to_string());
    lines.push(String::new());
    lines.join("\n")
}

/// A canonical text as a value. Numbers may lose digits there; `text` is exact.
fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string()))
}

fn as_json(path: &Path, verified: &Verified<'_>, doubt: Option<&str>, verdict: Verdict) -> Value {
    let Verified { shown, event_hash, index, checkpoint, judgement } = verified;
    let place = &shown.event.position;
    let disclosed: Map<String, Value> =
        shown.disclosed.iter().map(|(path, value)| (path.to_string(), value_of(value))).collect();
    json!({
        "file": path.to_string_lossy(),
        "verdict": verdict.words(),
        "why": doubt,
        "event": {
            "id": uuid_text(&place.id), "tenant_id": place.tenant_id, "lane": place.lane, "seq": place.seq,
            "event_hash": hex::encode(event_hash),
        },
        "document": value_of(shown.document),
        "disclosed": disclosed,
        "hidden": {
            "columns": shown.hidden_columns, "metadata_keys": shown.hidden_metadata, "targets": shown.hidden_targets,
        },
        "index": index,
        "checkpoint": trust::as_json(checkpoint, judgement.as_ref()),
    })
}

//! Whose signatures are known: the policy, the keys of logs, and what both say of a checkpoint.

use crate::failure::Failure;
use crate::options::TrustOptions;
use immutable_format::time;
use immutable_format::tlog::checkpoint::SignedCheckpoint;
use immutable_format::tlog::note::MAX_BYTES as MAX_NOTE;
use immutable_format::tlog::policy::{Judgement, Policy, MAX_BYTES};
use immutable_format::tlog::{base64, Malformed};
use serde_json::{json, Value};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a small file, or the standard input, to its end.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let failure = |error: io::Error| Failure::file(path, error.to_string());
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    match path.to_str() {
        Some("-") => io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failure)?,
        _ => File::open(path).map_err(failure)?.take(limit).read_to_end(&mut bytes).map_err(failure)?,
    };
    match bytes.len() > most {
        true => Err(Failure::file(path, format!("a file of more than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// Reads the policy and adds the keys of logs. `None` if neither was given.
pub fn policy(options: &TrustOptions) -> Result<Option<Policy>, Failure> {
    let logs = options.logs.clone();
    let Some(path) = &options.policy else {
        return Ok((!logs.is_empty()).then(|| Policy::of_logs(logs)));
    };
    let text = read(path, MAX_BYTES)?;
    let mut policy = Policy::parse(&text).map_err(|error| Failure::file(path, error.0))?;
    policy.add_logs(logs);
    Ok(Some(policy))
}

/// Reads a checkpoint.
pub fn checkpoint(path: &Path) -> Result<SignedCheckpoint, Failure> {
    let note = read(path, MAX_NOTE)?;
    SignedCheckpoint::parse(&note)
        .map_err(|Malformed(why)| Failure::file(path, format!("not a signed checkpoint: {why}")))
}

/// Why nothing from outside confirms a checkpoint; `None` if something does.
pub fn doubt(policy: Option<&Policy>, judgement: Option<&Judgement>) -> Option<&'static str> {
    match (policy, judgement) {
        (Some(_), Some(judgement)) if judgement.anchored => None,
        (Some(policy), _) if policy.asks_for_cosignatures() => {
            Some("The checkpoint does not have the cosignatures that the policy asks for.")
        }
        (Some(_), _) => Some(
            "No cosignature is asked for. The log's own signature says which log it is; whoever has the log's key can sign anything.",
        ),
        (None, _) => Some("No policy says whose signatures these are. Anybody can make such a checkpoint."),
    }
}

/// The time of a cosignature as text.
fn time_of(time: u64) -> String {
    let micros = i64::try_from(time).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    let text = micros.and_then(time::format).map(|text| text.replace(".000000Z", "Z"));
    text.unwrap_or_else(|| time.to_string())
}

/// The cosigners in lines.
pub fn cosigned(judgement: Option<&Judgement>) -> Vec<String> {
    let cosigners = judgement.iter().flat_map(|judgement| &judgement.cosigners);
    cosigners.map(|cosigner| format!("{} at {}", printable(&cosigner.name), time_of(cosigner.time))).collect()
}

/// The checkpoint for a JSON object.
pub fn as_json(checkpoint: &SignedCheckpoint, judgement: Option<&Judgement>) -> Value {
    let cosigners = judgement.iter().flat_map(|judgement| &judgement.cosigners);
    let cosigners = cosigners.map(|cosigner| {
        json!({"name": cosigner.name, "vkey": cosigner.vkey, "time": cosigner.time, "cosigned_at": time_of(cosigner.time)})
    });
    let text = &checkpoint.checkpoint;
    json!({
        "origin": text.origin,
        "size": text.size,
        "root": base64(&text.root),
        "cosigners": cosigners.collect::<Vec<_>>(),
        "cosigned_at": judgement.and_then(|judgement| judgement.cosigned_at).map(time_of),
        "anchored": judgement.is_some_and(|judgement| judgement.anchored),
    })
}

/// A text of a file for a terminal: what could play tricks on it is escaped.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, char| {
        match char {
            '"' | '\'' | '\\' => out.push(char),
            _ => out.extend(char.escape_debug()),
        }
        out
    })
}

//! `immutable-server try-delivery`: sends what stands on standard input once, and says what happened.

use super::destinations::destination::Destination;
use super::destinations::send::send;
use super::directories::Directories;
use super::formats::format::Format;
use super::formats::options::Options;
use super::formats::render;
use super::item::{Item, Kind};
use super::outcome::{Outcome, Sent};
use clap::Parser;
use serde_json::{json, Value};
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name of this command.
pub(crate) const NAME: &str = "try-delivery";

/// Sends the events on standard input to a destination once, and says what happened
///
/// Each line of standard input is an event as get_events() shows it, or an alert as get_alerts() does. An
/// event may also stand with its document: {"event": ..., "document": "..."}. For each outcome one line of JSON
/// is printed. The exit status is 0 if everything was delivered, 1 if not, and 2 if nothing was tried.
#[derive(Parser, Debug)]
#[command(name = "immutable-server try-delivery")]
pub(crate) struct Attempt {
    /// The destination, as a stream names it: a JSON object
    #[arg(long, value_name = "JSON", required_unless_present = "print")]
    destination: Option<String>,
    /// The format: json, ocsf, cloudevents, cef or leef
    #[arg(long, default_value = "json", value_name = "FORMAT")]
    format: String,
    /// The directory of secrets, one file each
    #[arg(long, env = "IMMUTABLE_SECRETS_DIR", value_name = "DIRECTORY")]
    secrets_dir: Option<PathBuf>,
    /// The directory below which destinations of type file write
    #[arg(long, env = "IMMUTABLE_FILES_DIR", value_name = "DIRECTORY")]
    files_dir: Option<PathBuf>,
    /// The id of the log, as immutable.log has it
    #[arg(long, default_value = "00000000-0000-0000-0000-000000000000", value_name = "UUID")]
    log_id: String,
    /// The name of the stream
    #[arg(long, default_value = "try", value_name = "NAME")]
    stream: String,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    print: bool,
}

/// Runs the command.
pub(crate) fn run(attempt: &Attempt) -> ExitCode {
    match attempt.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("immutable-server: {reason}");
            ExitCode::from(2)
        }
    }
}

impl Attempt {
    fn run(&self) -> Result<bool, String> {
        let format = Format::parse(&self.format)?;
        let destination = self.destination.as_deref().map(parse).transpose()?;
        if let Some(destination) = &destination {
            destination.accepts(format)?;
        }
        let items = self.items()?;
        if self.print {
            let default = Options::default();
            let options = destination.as_ref().map_or(&default, |destination| &destination.options);
            for item in &items {
                println!("{}", render::line(item, format, options));
            }
            return Ok(true);
        }
        let destination = destination.ok_or("There is no destination.")?;
        let directories = Directories { secrets: self.secrets_dir.clone(), files: self.files_dir.clone() };
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        Ok(runtime.block_on(deliver(&destination, format, &items, &directories)))
    }

    fn items(&self) -> Result<Vec<Item>, String> {
        let mut items = Vec::new();
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let wrong = |what: &str| format!("line {} of standard input {what}", number + 1);
            let line = line.map_err(|error| wrong(&error.to_string()))?;
            if line.trim().is_empty() {
                continue;
            }
            let json: Value = serde_json::from_str(&line).map_err(|error| wrong(&format!("is not JSON: {error}")))?;
            items.push(self.item(json).ok_or_else(|| wrong("is neither an event nor an alert"))?);
        }
        Ok(items)
    }

    fn item(&self, mut json: Value) -> Option<Item> {
        let document = json.get("document").and_then(Value::as_str).map(str::to_owned);
        let is_alert = json.get("rule_id").is_some();
        if !is_alert && json.get("event").is_some_and(Value::is_object) {
            json = json["event"].take();
        }
        Some(Item {
            id: json.get("id")?.as_str()?.to_owned(),
            kind: if is_alert { Kind::AlertTriggered } else { Kind::EventCreated },
            json,
            document,
            log_id: self.log_id.clone(),
            stream: self.stream.clone(),
        })
    }
}

fn parse(text: &str) -> Result<Destination, String> {
    let json = serde_json::from_str(text).map_err(|error| format!("--destination is not JSON: {error}"))?;
    Destination::parse(&json)
}

/// Sends all items; goes on behind one that was refused.
async fn deliver(destination: &Destination, format: Format, items: &[Item], directories: &Directories) -> bool {
    let (mut at, mut all) = (0, true);
    while at < items.len() {
        let Sent { delivered, outcome } = send(destination, format, &items[at..], directories).await;
        at += delivered;
        let id = items.get(at).map(|item| &item.id);
        let said = match &outcome {
            Outcome::Delivered => json!({"outcome": "delivered", "delivered": delivered}),
            Outcome::Retry { reason, after } => {
                let after = after.map(|after| after.as_secs());
                json!({"outcome": "retry", "delivered": delivered, "id": id, "reason": reason, "after": after})
            }
            Outcome::Refused { reason } => {
                json!({"outcome": "refused", "delivered": delivered, "id": id, "reason": reason})
            }
            Outcome::SwitchedOff { reason } => {
                json!({"outcome": "switched_off", "delivered": delivered, "id": id, "reason": reason})
            }
        };
        println!("{said}");
        all &= outcome == Outcome::Delivered;
        match outcome {
            Outcome::Delivered => {}
            Outcome::Refused { .. } => at += 1,
            Outcome::Retry { .. } | Outcome::SwitchedOff { .. } => break,
        }
    }
    all
}

//! The witness as a program.

use crate::failure::Failure;
use crate::options::WitnessOptions;
use crate::witness::decide::{say, Witness};
use crate::witness::http;
use crate::witness::key::read_key;
use crate::witness::state::State;
use immutable_format::tlog::note::VerifierKey;
use std::collections::HashMap;

/// Runs the witness until it is told to stop.
pub fn run(options: &WitnessOptions) -> Result<(), Failure> {
    let key = read_key(&options.key)?;
    let mut logs: HashMap<String, Vec<VerifierKey>> = HashMap::new();
    for log in &options.logs {
        let keys = logs.entry(log.name().to_string()).or_default();
        if !keys.contains(log) {
            keys.push(log.clone());
        }
    }
    let state = State::open(&options.state, options.init, &key.verifier())?;
    say(&format!("cosigns as {}", key.verifier().text()));
    http::serve(options.listen, Witness::new(key, logs, state))
}

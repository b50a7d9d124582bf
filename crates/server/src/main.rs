//! `immutable-server`: the audit log over HTTP, its viewer, and deliveries of its events.
//!
//! The program holds no rule and no state. Each request carries a proof into the database, where the
//! log itself decides what it opens. `docs/server.md` is the guide, and `docs/design/` says why.

mod app;
mod configuration;
mod database;
mod deliveries;
mod figures;
mod http;
mod options;
mod resources;
mod routes;
mod serve;
mod viewer;

use crate::deliveries::attempt;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    if arguments.next().is_some_and(|argument| argument == attempt::NAME) {
        return attempt::run(&attempt::Attempt::parse_from(program.into_iter().chain(arguments)));
    }
    match options::Options::read().and_then(serve::run::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("immutable-server: {reason}");
            ExitCode::from(2)
        }
    }
}

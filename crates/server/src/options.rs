//! What the operator can set: flags, environment variables, and a file.

use clap::Parser;
use std::net::SocketAddr;

/// Serves the immutable audit log over HTTP
///
/// The program logs in to PostgreSQL with a login that has the role immutable_server and no other. It
/// can be stopped and started at any time, and several of them can serve one log.
#[derive(Parser, Clone, Debug)]
#[command(
    version,
    after_help = "immutable-server try-delivery --help: sends events to a destination once, and says what happened"
)]
pub(crate) struct Options {
    /// Where to listen
    #[arg(long, env = "IMMUTABLE_LISTEN", default_value = "127.0.0.1:7300", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// How to connect to PostgreSQL: keywords and values as libpq takes them, or a URI
    #[arg(long, env = "IMMUTABLE_DATABASE", value_name = "CONNECTION")]
    pub(crate) database: String,
    /// The most connections to PostgreSQL for requests
    #[arg(long, env = "IMMUTABLE_CONNECTIONS", default_value_t = 16, value_name = "N")]
    pub(crate) connections: usize,
}

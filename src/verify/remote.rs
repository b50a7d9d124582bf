//! Commands that run on other nodes at the same time, each on a connection of its own as the current user. They see
//! what is committed.

use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::jsonb::Jsonb;
use crate::pg::spi::{self, Arg};

/// A node of the cluster.
#[derive(Clone)]
pub struct Node {
    /// The number of its group, by which placements name it.
    pub group: i32,
    pub host: String,
    pub port: i32,
    /// Whether it knows where shards are.
    pub has_metadata: bool,
}

impl Node {
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Runs a command on each node, and calls `each` with the node and with the jsonb that the command returns. Raises
/// 08006 if a node does not answer, and 38000 if a command fails.
pub fn run(commands: &[(&Node, String)], mut each: impl FnMut(&Node, Jsonb<'_>)) {
    if commands.is_empty() {
        return;
    }
    let hosts = commands.iter().map(|(node, _)| node.host.clone()).collect();
    let ports = commands.iter().map(|(node, _)| node.port.to_string()).collect();
    let texts = commands.iter().map(|(_, command)| command.clone()).collect();
    spi::read(
        "SELECT r.ordinality, r.success, CASE WHEN r.success AND r.result <> '' THEN r.result::pg_catalog.jsonb END, \
                CASE WHEN NOT r.success THEN r.result END \
         FROM pg_catalog.master_run_on_worker($1, $2::pg_catalog.int4[], $3, true) WITH ORDINALITY r",
        &[Arg::Texts(hosts), Arg::Texts(ports), Arg::Texts(texts)],
        |row| {
            let number = row.at(0).map_or(0, Datum::i64) as usize;
            let Some((node, _)) = commands.get(number.wrapping_sub(1)) else { return };
            if !row.at(1).is_some_and(Datum::bool) {
                refuse(node, row.at(3).map_or("", text))
            }
            if let Some(answer) = row.at(2) {
                each(node, Jsonb::new(answer));
            }
        },
    );
}

/// What Citus says of a node that it cannot reach.
const UNREACHABLE: [&str; 4] = ["failed to connect", "connection lost", "query result unavailable", "failed to send"];

fn refuse(node: &Node, why: &str) -> ! {
    let why = why.trim();
    let name = node.name();
    if UNREACHABLE.iter().any(|start| why.starts_with(start)) {
        Fault::new(Code::ERRCODE_CONNECTION_FAILURE, format!("node {name} does not answer: {why}"))
            .hint(
                "Nothing was verified. Start the node, or make it reachable for this role, and call the function \
                 again. Meanwhile the tenants of other nodes can be verified one by one, with tenant_id.",
            )
            .raise()
    }
    Fault::new(Code::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, format!("node {name} has not verified its shards: {why}"))
        .hint("The end of the message is the node's. Its server log has more.")
        .raise()
}

/// A literal of this text.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

//! export_events(): the events as lines that verify outside of the database.

use crate::access::lent::{are_policies_as_made, with_rights};
use crate::access::proof::{self, Scope};
use crate::log::distributed;
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::memory::Memory;
use crate::pg::set::Series;
use crate::pg::time::statement_start;
use crate::read::export::{statement, written, Export, Verifiable};
use crate::read::export_shards::ShardExport;
use crate::read::filter::{argument, Filters, FILTERS};

/// An export from the tables of this server, or from those of all nodes.
enum AnyExport {
    Here(Export),
    Shards(ShardExport),
}

impl Series for AnyExport {
    fn next<'c>(&mut self, memory: Memory<'c>) -> Option<Datum<'c>> {
        match self {
            AnyExport::Here(export) => export.next(memory),
            AnyExport::Shards(export) => export.next(memory),
        }
    }

    fn close(&mut self) {
        match self {
            AnyExport::Here(export) => export.close(),
            AnyExport::Shards(export) => export.close(),
        }
    }
}

sql_function!(immutable_export_events, pg_finfo_immutable_export_events, export_events);

/// `immutable.export_events(…)`: the lines of an export, one a call. Raises 22023 for arguments
/// that mean nothing, and 0A000 where no set of rows is expected.
fn export_events(call: Call<'_>) -> Datum<'_> {
    call.series(|| {
        let opened = proof::require(Scope::Export);
        // At the shards there is no proof: what it opens is among the filters.
        let is_lent = proof::is_needed() && are_policies_as_made();
        with_rights(|| {
            let mut filters = Filters::of(call);
            if let Some(asked) = opened.tenant_id.as_ref().and_then(|own| filters.narrow_to(own)) {
                opened.hold_to("tenant_id", &asked);
            }
            let own = opened.tenant_id.as_ref().map(|own| call.memory().text(own));
            let given = |index: usize| argument(call, index).or(own.filter(|_| FILTERS[index].0 == "tenant_id"));
            let lines = Verifiable::new(statement_start(), written(given));
            if distributed::is() {
                let tenant_id = FILTERS.iter().position(|(name, _)| *name == "tenant_id").and_then(given).map(text);
                return AnyExport::Shards(ShardExport::begin(given, tenant_id, lines, is_lent));
            }
            AnyExport::Here(Export::begin(statement(filters, ""), Box::new(lines), false))
        })
    })
}

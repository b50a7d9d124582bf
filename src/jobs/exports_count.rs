//! How many events an export has: counted a part at a time, so that no transaction takes long.

use crate::jobs::exports_rows::{filters_of, is_pinned};
use crate::jobs::exports_table::Stored;
use crate::log::small_table::SmallTable;
use crate::pg::datum::{bytes, Datum};
use crate::pg::memory::here;
use crate::pg::spi::{self, Arg};
use crate::pg::transaction;
use crate::read::export::Statement;
use crate::read::filter::where_all;

/// How many rows are counted between two looks at the clock.
const ROWS: i64 = 500;

/// An event that was counted: its tenant's bytes, lane and seq.
type Place = (Vec<u8>, i16, i64);

/// A place as the table keeps it.
fn place_text((tenant_id, lane, seq): &Place) -> String {
    format!("{lane}:{seq}:{}", hex::encode(tenant_id))
}

fn place_of(text: &str) -> Option<Place> {
    let mut parts = text.splitn(3, ':');
    let (lane, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((hex::decode(parts.next()?).ok()?, lane, seq))
}

/// The events of the export after those that were counted, in the order of the chains' index.
fn rest(export: &Stored) -> Statement {
    here(|memory| {
        let mut filters = filters_of(export, memory);
        let mut clauses = filters.scope("e.tenant_id", "e.created_at");
        clauses.extend(filters.conditions());
        clauses.push(is_pinned(&mut filters, export, "e"));
        if let Some((tenant_id, lane, seq)) = export.counted_to.as_deref().and_then(place_of) {
            let tenant_id = filters.argument(Arg::RawText(tenant_id.into()));
            let (lane, seq) = (filters.argument(Arg::Int2(lane)), filters.argument(Arg::Int8(seq)));
            clauses.push(format!("(e.tenant_id, e.lane, e.seq) > (${tenant_id}, ${lane}, ${seq})"));
        }
        Statement {
            text: format!(
                "SELECT e.tenant_id, e.lane, e.seq FROM immutable.events e{} ORDER BY e.tenant_id, e.lane, e.seq",
                where_all(&clauses)
            ),
            arguments: filters.arguments.into_iter().map(Arg::into_owned).collect(),
        }
    })
}

/// Counts on for about so many microseconds, with the owner's rights: the filters hold the export to
/// what its maker may see. Nothing happens if another transaction counts it. Returns whether all
/// events are counted now.
pub fn count_on(table: &SmallTable, export: &Stored, micros: i64) -> bool {
    if !export.lock(table).acquire(false) {
        return false;
    }
    let until = transaction::now() + micros;
    // Where nobody knows how far it was counted, it is counted anew.
    let begun = export.counted_to.as_deref().and_then(place_of).map_or(0, |_| export.counted);
    let (mut counted, mut last, mut whole) = (begun, None, false);
    spi::as_owner(table.relation(), || {
        let Statement { text, arguments } = rest(export);
        let mut cursor = spi::Cursor::open_now(&text, arguments);
        while !whole && transaction::now() < until {
            let fetched = cursor.fetch(ROWS, |tuple| {
                let row = tuple.values();
                let tenant_id = row.at(0).map(bytes).unwrap_or_default();
                last = Some((tenant_id.to_vec(), row.at(1).map_or(0, Datum::i16), row.at(2).map_or(0, Datum::i64)));
            });
            counted += fetched as i64;
            whole = (fetched as i64) < ROWS;
        }
        cursor.close();
    });
    let counted_to = last.as_ref().map(place_text).or_else(|| export.counted_to.clone());
    table.execute(
        "UPDATE immutable.exports SET counted = $2, counted_to = $3, status = $4 WHERE id = $1 \
         AND status IN ('pending', 'processing')",
        &[
            Arg::Uuid(export.id),
            Arg::Int8(counted),
            Arg::maybe_text(counted_to),
            Arg::text(if whole { "completed" } else { "processing" }),
        ],
    );
    whole
}

//! What an erasure does to exports: a filter's value may be a person's. Streams have filters too.

use crate::jobs::exports_table::{exports, filters_json, Stored, SELECTED};
use crate::jobs::streams_erased;
use crate::log::small_table::SmallTable;
use crate::pg::call::{sql_function, texts, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::spi::Arg;
use crate::read::fold::folded;
use pgrx::pg_sys;

/// The filters whose values are ids, which are erased as a whole.
const IDS: [&str; 4] = ["actor_id", "resource_id", "session_id", "target_id"];

/// Why an export fails.
const ERASED: &str = "a value of its filters was erased";

/// What was erased, as filters compare it.
struct Erased<'e> {
    values: Vec<&'e str>,
    folded: Vec<String>,
}

impl Erased<'_> {
    /// Whether a filter finds what was erased, and so says it.
    fn is_in(&self, name: &str, value: &str) -> bool {
        if IDS.contains(&name) {
            return self.values.contains(&value);
        }
        if name != "search" {
            return false;
        }
        let value = folded(value);
        !value.is_empty() && self.folded.iter().any(|erased| erased.contains(&value) || value.contains(erased))
    }
}

sql_function!(immutable_forget_in_exports, pg_finfo_immutable_forget_in_exports, forget_in_exports);

/// `immutable.forget_in_exports(tenant_id, erased)`
fn forget_in_exports(call: Call) -> Datum {
    let tenant_id = call.arg(0).map_or("", text);
    let values: Vec<&str> = call.arg(1).map_or(Vec::new(), |erased| texts(erased, "erased"));
    let values: Vec<&str> = values.into_iter().filter(|value| !value.is_empty()).collect();
    streams_erased::forget(tenant_id, &values);
    let folded = values.iter().map(|value| folded(value)).collect();
    let erased = Erased { values, folded };
    let table = exports(pg_sys::RowExclusiveLock);
    let mut kept = Vec::new();
    let statement = format!("SELECT {SELECTED} FROM immutable.exports x WHERE x.filters <> '{{}}'");
    table.returning(&statement, &[], |row| kept.push(Stored::of(row)));
    for export in kept {
        let is_of_tenant = export.only_tenant().is_none_or(|only| only == tenant_id);
        if is_of_tenant && export.filters.iter().any(|filter| says(&erased, filter)) {
            forget(&table, &export, &erased);
        }
    }
    call.void()
}

fn says(erased: &Erased, (name, value): &(String, Option<String>)) -> bool {
    value.as_deref().is_some_and(|value| erased.is_in(name, value))
}

fn forget(table: &SmallTable, export: &Stored, erased: &Erased) {
    let left = export.filters.iter().map(|filter| {
        let value = filter.1.as_deref().filter(|_| !says(erased, filter));
        (filter.0.as_str(), value)
    });
    table.execute(
        "UPDATE immutable.exports SET filters = $2, pin = NULL, status = 'failed', error_message = $3 WHERE id = $1",
        &[Arg::Uuid(export.id), Arg::Json(filters_json(left).into()), Arg::text(ERASED)],
    );
}

use pgrx::prelude::*;
pgrx::pg_module_magic!(name, version);
pgrx::extension_sql_file!("../sql/schema.sql", name = "schema");
#[pg_extern(sql = false)]
fn immutable_version() -> &'static str { env!("CARGO_PKG_VERSION") }

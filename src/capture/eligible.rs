//! Which relations can be tracked.

use crate::capture::tracking;
use crate::log::distributed;
use crate::pg::catalog;
use crate::pg::error::{Code, Fault};
use crate::pg::relation::{schema, with_ancestors, with_descendants, Relation};
use pgrx::pg_sys;

const TABLES: &str = "Tables, partitioned tables and foreign tables can be tracked.";

/// Refuses what cannot be tracked, whoever asks: 42501, 42809 or 0A000. The relation need not be locked.
pub fn refuse_kind(relation: Relation) {
    let name = relation.qualified_name();
    let refuse = |why: &str, hint: &str| -> ! {
        Fault::new(Code::ERRCODE_WRONG_OBJECT_TYPE, format!("{name} {why}")).field("relation").hint(hint).raise()
    };
    if is_of_log(relation) {
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("{name} belongs to the audit log"))
            .field("relation")
            .hint("The log records what happens to it by itself.")
            .raise()
    }
    if relation.is_of_system() && relation.kind() != pg_sys::RELKIND_TOASTVALUE {
        Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, format!("{name} is a system catalog"))
            .field("relation")
            .hint("PostgreSQL allows no triggers on it.")
            .raise()
    }
    match relation.kind() {
        pg_sys::RELKIND_RELATION | pg_sys::RELKIND_PARTITIONED_TABLE | pg_sys::RELKIND_FOREIGN_TABLE => {}
        pg_sys::RELKIND_VIEW => refuse("is a view", "Track the tables that its rows come from."),
        pg_sys::RELKIND_MATVIEW => refuse("is a materialized view", "Track the tables that its rows come from."),
        pg_sys::RELKIND_SEQUENCE => refuse("is a sequence", TABLES),
        _ => refuse("is not a table", TABLES),
    }
    match relation.persistence() {
        pg_sys::RELPERSISTENCE_TEMP => refuse("is a temporary table", "Its rows end with the session."),
        pg_sys::RELPERSISTENCE_UNLOGGED => refuse(
            "is an unlogged table",
            "After a crash its rows are gone, and no event would say so. ALTER TABLE ... SET LOGGED first.",
        ),
        _ => {}
    }
    if distributed::is_in_catalog(relation.oid()) {
        Fault::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, format!("{name} is a table of Citus"))
            .field("relation")
            .hint("Its rows are on other nodes. Only local tables can be tracked.")
            .raise()
    }
}

fn is_of_log(relation: Relation) -> bool {
    let is_member = |extension| catalog::is_member(extension, pg_sys::RelationRelationId, relation.oid());
    relation.namespace() == schema() || catalog::extension(c"immutable").is_some_and(is_member)
}

/// Refuses (42809) a partition, and a table whose tree touches that of another tracked table. The tree is locked.
pub fn refuse_part(relation: Relation) {
    let (name, oid) = (relation.qualified_name(), relation.oid());
    let ancestors = with_ancestors(oid);
    if relation.is_partition() {
        let root = ancestors.last().map_or(String::new(), |root| shown(*root));
        refuse(
            &format!("{name} is a partition"),
            &format!("Track {root}. Its triggers are made on the partitions too."),
        );
    }
    let all = tracking::all();
    let is_tracked = |table: &&pg_sys::Oid| all.iter().any(|entry| entry.relation == **table);
    if let Some(root) = ancestors[1..].iter().find(is_tracked) {
        let root = shown(*root);
        refuse(
            &format!("{name} inherits from {root}, which is tracked"),
            &format!("It is tracked with {root} already."),
        );
    }
    let descendants = with_descendants(oid);
    for child in &descendants[1..] {
        if let Some(tracked) = with_ancestors(*child).iter().find(|table| **table != oid && is_tracked(table)) {
            let (child, tracked) = (shown(*child), shown(*tracked));
            refuse(
                &format!("{child}, which inherits from {name}, is tracked with {tracked}"),
                &format!("A row belongs to one tracked table. SELECT immutable.untrack_table('{tracked}') first."),
            )
        }
    }
}

fn refuse(message: &str, hint: &str) -> ! {
    Fault::new(Code::ERRCODE_WRONG_OBJECT_TYPE, message).field("relation").hint(hint).raise()
}

/// A relation's name with its schema, quoted where needed.
pub fn shown(relation: pg_sys::Oid) -> String {
    let open = crate::pg::relation::OpenRelation::any(relation);
    open.map_or(String::new(), |open| open.get().qualified_name())
}

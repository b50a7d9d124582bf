//! The triggers of a segment's tables, which refuse to everybody but the log what the triggers of the log's own tables
//! refuse.

/// The statements that make them.
pub fn statements(number: i32) -> Vec<String> {
    let events = format!("immutable.events_{number}");
    let targets = format!("immutable.event_targets_{number}");
    let mut made = Vec::new();
    let mut trigger = |table: &str, name: &str, when: &str, each: &str, function: &str| {
        made.push(format!(
            "CREATE TRIGGER \"~immutable_{name}\" {when} ON {table} FOR EACH {each} EXECUTE FUNCTION immutable.{function}()"
        ));
    };
    for (table, guard) in [(&events, "guard_event"), (&targets, "guard_target")] {
        trigger(table, "insert", "BEFORE INSERT", "STATEMENT", "refuse");
        trigger(table, "update", "BEFORE UPDATE", "ROW", guard);
        trigger(table, "delete", "BEFORE DELETE", "ROW", "refuse");
        trigger(table, "truncate", "BEFORE TRUNCATE", "STATEMENT", "refuse");
    }
    made
}

//! The triggers of a segment. Tables do not inherit triggers, and a statement on a segment, or on a parent of it, fires
//! those of the segment's rows.

/// A trigger of a table: when it fires, and what it runs.
struct Trigger {
    name: &'static str,
    fires: &'static str,
    runs: &'static str,
    /// Whether it fires where session_replication_role is replica, and nowhere else.
    in_replica: bool,
}

const fn trigger(name: &'static str, fires: &'static str, runs: &'static str) -> Trigger {
    Trigger { name, fires, runs, in_replica: false }
}

const fn in_replica(name: &'static str, fires: &'static str) -> Trigger {
    Trigger { name, fires, runs: "replicate", in_replica: true }
}

/// Only the log itself brings rows and takes them away. What may be erased is erased in a segment as elsewhere.
const EVENTS: [Trigger; 6] = [
    trigger("~immutable_insert", "BEFORE INSERT ON {} FOR EACH STATEMENT", "refuse"),
    trigger("~immutable_update", "BEFORE UPDATE ON {} FOR EACH ROW", "guard_event"),
    trigger("~immutable_delete", "BEFORE DELETE ON {} FOR EACH ROW", "refuse"),
    trigger("~immutable_truncate", "BEFORE TRUNCATE ON {} FOR EACH STATEMENT", "refuse"),
    in_replica("~immutable_apply", "BEFORE INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW"),
    in_replica("~immutable_apply_truncate", "BEFORE TRUNCATE ON {} FOR EACH STATEMENT"),
];

const TARGETS: [Trigger; 6] = [
    trigger("~immutable_insert", "BEFORE INSERT ON {} FOR EACH STATEMENT", "refuse"),
    trigger("~immutable_update", "BEFORE UPDATE ON {} FOR EACH ROW", "guard_target"),
    trigger("~immutable_delete", "BEFORE DELETE ON {} FOR EACH ROW", "refuse"),
    trigger("~immutable_truncate", "BEFORE TRUNCATE ON {} FOR EACH STATEMENT", "refuse"),
    in_replica("~immutable_apply", "BEFORE INSERT OR DELETE ON {} FOR EACH ROW"),
    in_replica("~immutable_apply_truncate", "BEFORE TRUNCATE ON {} FOR EACH STATEMENT"),
];

/// The statements that make the triggers of a new segment. The log runs them as its own change.
pub fn statements(number: i32) -> Vec<String> {
    let events = of_table(&format!("events_{number}"), &EVENTS);
    events.chain(of_table(&format!("event_targets_{number}"), &TARGETS)).collect()
}

fn of_table<'t>(table: &str, triggers: &'t [Trigger]) -> impl Iterator<Item = String> + 't {
    let table = format!("immutable.{table}");
    triggers.iter().flat_map(move |Trigger { name, fires, runs, in_replica }| {
        let fires = fires.replace("{}", &table);
        let made = format!("CREATE TRIGGER \"{name}\" {fires} EXECUTE FUNCTION immutable.{runs}()");
        let switched = format!("ALTER TABLE {table} ENABLE REPLICA TRIGGER \"{name}\"");
        std::iter::once(made).chain(in_replica.then_some(switched))
    })
}

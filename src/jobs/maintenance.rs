//! run_maintenance(): what a scheduler calls each minute.

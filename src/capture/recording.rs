//! What is recorded of a table, and how: what `track_table()` is told.

use crate::capture::operation::Operation;

/// The configuration of a tracked table. Columns have the names that the table gives them.
#[derive(Clone, Default)]
pub struct Recording {
    /// What events call the table's rows.
    pub resource_type: String,
    /// The columns of the resource's id, in order.
    pub id_columns: Vec<String>,
    /// The columns that are recorded; None for all.
    pub columns: Option<Vec<String>>,
    /// The columns that are not recorded.
    pub exclude: Vec<String>,
    /// The columns that are recorded without their values.
    pub mask: Vec<String>,
    /// The column that has the tenant of a row.
    pub tenant_column: Option<String>,
    /// The columns whose values are persons, who become targets.
    pub subject_columns: Vec<String>,
    /// What is recorded when it is done to the table or a row of it.
    pub operations: Vec<Operation>,
    /// The SQL of the condition under which a change is recorded.
    pub condition: Option<String>,
}

impl Recording {
    /// All columns that are named, each once.
    pub fn named_columns(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let lists = [Some(&self.id_columns), self.columns.as_ref(), Some(&self.exclude), Some(&self.mask)];
        let lists = lists.into_iter().flatten().chain([&self.subject_columns]);
        for column in lists.flatten().chain(&self.tenant_column) {
            if !all.contains(column) {
                all.push(column.clone());
            }
        }
        all
    }

    /// Calls `change` with each name of a column.
    pub fn each_column(&mut self, change: impl FnMut(&mut String)) {
        let lists = [Some(&mut self.id_columns), self.columns.as_mut(), Some(&mut self.exclude), Some(&mut self.mask)];
        let lists = lists.into_iter().flatten().chain([&mut self.subject_columns]);
        lists.flatten().chain(&mut self.tenant_column).for_each(change);
    }
}

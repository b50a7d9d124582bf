//! SQL expressions on the columns of one row.

#![allow(unsafe_code)]

use crate::pg::error::{Code, Fault};
use crate::pg::relation::{cells, Relation};
use pgrx::pg_sys::{self, NodeTag};
use std::ffi::{CStr, CString};

/// The name by which an expression may call the row.
pub const ROW: &CStr = c"immutable_row";

/// Refuses a text that is not one boolean expression on the columns of the relation's rows, with PostgreSQL's error or
/// 22023. It must not contain a subquery, an aggregate or a set, and must not call a volatile function or name a temporary
/// object, a system column, the whole row or a column that rows do not have. Nothing is evaluated but the input functions
/// of literals.
pub fn check(relation: Relation, text: &str) {
    let Ok(source) = CString::new(text) else { refuse("must not contain a NUL") };
    // SAFETY: the trees are PostgreSQL's own, in the current memory; each is looked at only after its tag was.
    unsafe {
        let expression = parse(&source);
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        (*state).p_sourcetext = source.as_ptr();
        let alias = pg_sys::makeAlias(ROW.as_ptr(), std::ptr::null_mut());
        let lock = pg_sys::AccessShareLock as i32;
        let item = pg_sys::addRangeTableEntryForRelation(state, relation.raw(), lock, alias, false, true);
        pg_sys::addNSItemToQuery(state, item, false, true, true);
        let tree = pg_sys::transformExpr(state, expression, pg_sys::ParseExprKind::EXPR_KIND_TRIGGER_WHEN);
        let tree = pg_sys::coerce_to_boolean(state, tree, c"condition".as_ptr());
        pg_sys::assign_expr_collations(state, tree);
        let parsed = CStr::from_ptr(pg_sys::nodeToString(expression.cast()));
        if parsed.to_string_lossy().to_lowercase().contains("pg_temp") {
            refuse("must not name temporary objects")
        }
        if pg_sys::contain_volatile_functions(tree) {
            refuse("must not call a volatile function")
        }
        for cell in cells(pg_sys::pull_var_clause(tree, 0)) {
            let variable = cell.ptr_value.cast::<pg_sys::Var>();
            refuse_column(relation, (*variable).varattno);
        }
    }
}

/// The only expression of a text, not analyzed yet.
///
/// # Safety
/// The tree lives as long as the current memory.
unsafe fn parse(source: &CStr) -> *mut pg_sys::Node {
    // SAFETY: the tree of a statement without a name, which this mode makes of an expression; every member is a list, null
    // or a node.
    unsafe {
        let parsed = pg_sys::raw_parser(source.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let raw = cells(parsed).first().map(|cell| cell.ptr_value.cast::<pg_sys::RawStmt>());
        let Some(raw) = raw.filter(|_| cells(parsed).len() == 1) else { refuse("must be a single one") };
        if (*(*raw).stmt).type_ != NodeTag::T_SelectStmt {
            refuse("must be a single one")
        }
        let select = &*(*raw).stmt.cast::<pg_sys::SelectStmt>();
        let has_more = [
            select.distinctClause,
            select.fromClause,
            select.groupClause,
            select.windowClause,
            select.valuesLists,
            select.sortClause,
            select.lockingClause,
        ]
        .iter()
        .any(|list| !list.is_null())
            || [select.whereClause, select.havingClause, select.limitOffset, select.limitCount]
                .iter()
                .any(|node| !node.is_null())
            || !select.intoClause.is_null()
            || !select.withClause.is_null()
            || select.op != pg_sys::SetOperation::SETOP_NONE;
        let targets = cells(select.targetList);
        if has_more || targets.len() != 1 {
            refuse("must be a single one")
        }
        let target = &*targets[0].ptr_value.cast::<pg_sys::ResTarget>();
        if !target.name.is_null() || !target.indirection.is_null() {
            refuse("must have no name")
        }
        target.val
    }
}

fn refuse_column(relation: Relation, number: i16) {
    match number {
        0 => refuse("must not use the whole row"),
        ..0 => refuse("must not use a system column"),
        _ => {
            let attribute = relation.descriptor().attribute(number as usize - 1);
            if attribute.is_none_or(|attribute| attribute.is_virtual) {
                refuse("must not use a column that is generated when it is read")
            }
        }
    }
}

fn refuse(why: &str) -> ! {
    Fault::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, format!("the expression {why}")).raise()
}

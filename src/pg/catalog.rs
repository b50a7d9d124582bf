//! What the catalogs say about objects. PostgreSQL identifies an object by the OID of its catalog
//! (the class) and the OID of its row there.

#![allow(unsafe_code)]

use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString};

/// Catalogs that pgrx has no name for.
pub const POLICIES: Oid = Oid::from_u32(3256);
/// The catalog pg_rewrite.
pub const RULES: Oid = Oid::from_u32(2618);
/// The catalog pg_constraint.
pub const CONSTRAINTS: Oid = Oid::from_u32(2606);

/// An extension by its name, if there is one.
pub fn extension(name: &CStr) -> Option<Oid> {
    // SAFETY: looks a name up.
    let extension = unsafe { pg_sys::get_extension_oid(name.as_ptr(), true) };
    (extension != pg_sys::InvalidOid).then_some(extension)
}

/// Whether the running command belongs to the extension's own script, or to pg_upgrade, which
/// creates the extension's objects one by one.
pub fn is_scripted(extension: Oid) -> bool {
    // SAFETY: reads variables of the one thread there is.
    unsafe { pg_sys::creating_extension && pg_sys::CurrentExtensionObject == extension || pg_sys::IsBinaryUpgrade }
}

/// Whether an object is a member of an extension; InvalidOid is of none.
pub fn is_member(extension: Oid, class: Oid, object: Oid) -> bool {
    // SAFETY: takes any oids.
    object != pg_sys::InvalidOid && unsafe { pg_sys::getExtensionOfObject(class, object) } == extension
}

/// The description of an object in PostgreSQL's messages, such as `table immutable.events`.
pub fn describe(class: Oid, object: Oid) -> String {
    let address = pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 };
    // SAFETY: gives a C string, or null where there is no such object.
    unsafe {
        let text = pg_sys::getObjectDescription(&address, true);
        if text.is_null() {
            return "an object".to_string();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// `relkind` of a relation, one of RELKIND_*; 0 where there is none.
pub fn relation_kind(relation: Oid) -> u8 {
    // SAFETY: takes any oid.
    unsafe { pg_sys::get_rel_relkind(relation) as u8 }
}

/// Whether a relation is a partition. It is not opened, so that nobody waits.
pub fn is_partition(relation: Oid) -> bool {
    // SAFETY: takes any oid.
    unsafe { pg_sys::get_rel_relispartition(relation) }
}

/// A relation by its schema and its name, without quotes; InvalidOid where there is none.
pub fn relation(schema: &str, name: &str) -> Oid {
    let (Ok(schema), Ok(name)) = (CString::new(schema), CString::new(name)) else { return pg_sys::InvalidOid };
    // SAFETY: looks names up.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        match schema {
            pg_sys::InvalidOid => schema,
            _ => pg_sys::get_relname_relid(name.as_ptr(), schema),
        }
    }
}

/// The schema and the name of a relation, without quotes.
pub fn name_of_relation(relation: Oid) -> Option<(String, String)> {
    // SAFETY: takes any oids; C strings, or null.
    unsafe {
        let name = c_string(pg_sys::get_rel_name(relation))?;
        let schema = c_string(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation)))?;
        Some((schema, name))
    }
}

/// A schema and a name as SQL writes them.
pub fn qualified(schema: &str, name: &str) -> String {
    let (Ok(schema), Ok(name)) = (CString::new(schema), CString::new(name)) else { return String::new() };
    // SAFETY: gives a C string.
    unsafe { c_string(pg_sys::quote_qualified_identifier(schema.as_ptr(), name.as_ptr())) }.unwrap_or_default()
}

/// The name of a relation's column by its number, unless the column was dropped.
pub fn column_name(relation: Oid, number: i16) -> Option<String> {
    // SAFETY: takes any numbers; a C string, or null for a column that is not there.
    let name = unsafe { c_string(pg_sys::get_attname(relation, number, true)) }?;
    // A dropped column has a name that no other column can be looked up by.
    (column_number(relation, &name) == Some(number)).then_some(name)
}

/// The number of a relation's column by its name; None for a system column and for one that is not there.
pub fn column_number(relation: Oid, name: &str) -> Option<i16> {
    let name = CString::new(name).ok()?;
    // SAFETY: takes any oid.
    let number = unsafe { pg_sys::get_attnum(relation, name.as_ptr()) };
    (number > 0).then_some(number)
}

/// # Safety
/// The pointer must be null, or one to a C string.
unsafe fn c_string(text: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: as the caller says.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Whether a role may create triggers on a relation.
pub fn may_create_triggers(role: Oid, relation: Oid) -> bool {
    // SAFETY: raises an error if there is no such relation.
    let answer = unsafe { pg_sys::pg_class_aclcheck(relation, role, pg_sys::ACL_TRIGGER as pg_sys::AclMode) };
    answer == pg_sys::AclResult::ACLCHECK_OK
}

/// A function without arguments of the schema `immutable`; InvalidOid where there is none. It needs no right to the schema,
/// which the owner of a tracked table may not have.
pub fn function_in_schema(name: &CStr) -> Oid {
    // SAFETY: looks names up; the arguments are an empty vector in the current memory.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
        let arguments = pg_sys::buildoidvector(std::ptr::null(), 0);
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            pg_sys::Anum_pg_proc_oid as i16,
            pg_sys::Datum::from(name.as_ptr()),
            pg_sys::Datum::from(arguments),
            pg_sys::Datum::from(schema),
            pg_sys::Datum::from(0usize),
        )
    }
}

/// The name of a relation in the schema `immutable`; None for another relation.
pub fn name_in_schema(relation: Oid) -> Option<String> {
    // SAFETY: takes any oid; a C string, or null.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"immutable".as_ptr(), true);
        let name = pg_sys::get_rel_name(relation);
        let is_there = !name.is_null() && pg_sys::get_rel_namespace(relation) == schema;
        is_there.then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// The table of an index; InvalidOid where there is none.
pub fn table_of_index(index: Oid) -> Oid {
    // SAFETY: takes any oid.
    unsafe { pg_sys::IndexGetRelation(index, true) }
}

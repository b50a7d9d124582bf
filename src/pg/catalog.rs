//! What the catalogs say about objects. PostgreSQL identifies an object by the OID of its catalog
//! (the class) and the OID of its row there.

#![allow(unsafe_code)]

use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

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

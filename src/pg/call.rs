//! Functions that SQL can call: how PostgreSQL finds them, how they read their arguments, and what
//! they keep from call to call.

#![allow(unsafe_code)]

use crate::pg::datum::{name, text, Datum};
use crate::pg::error::{contain, internal, Code, Fault};
use crate::pg::memory::Memory;
use pgrx::pg_sys;
use std::any::Any;
use std::marker::PhantomData;

/// Exports `$body` (a `fn(Call) -> Datum`) as the V1 function `$name`, with `$info` as its finfo
/// record.
macro_rules! sql_function {
    ($name:ident, $info:ident, $body:expr) => {
        // Exported under names that PostgreSQL looks for, which counts as unsafe.
        #[allow(unsafe_code)]
        const _: () = {
            #[no_mangle]
            pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
                static V1: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &V1
            }

            /// # Safety
            /// Called by PostgreSQL's function manager alone.
            #[no_mangle]
            pub unsafe extern "C-unwind" fn $name(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
                // SAFETY: the function manager gives the call that this is.
                unsafe { $crate::pg::call::enter(fcinfo, $body) }
            }
        };
    };
}
pub(crate) use sql_function;

/// Runs the body of a function that PostgreSQL calls. A panic reaches the client as an error
/// without internal text.
///
/// # Safety For [`sql_function`] alone: `fcinfo` is the call that PostgreSQL makes.
#[inline]
pub unsafe fn enter(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl for<'c> FnOnce(Call<'c>) -> Datum<'c>,
) -> pg_sys::Datum {
    // SAFETY: this is the outermost Rust frame.
    unsafe {
        pg_sys::panic::pgrx_extern_c_guard(|| {
            contain(|| body(Call { info: fcinfo, memory: Memory::current(), of: PhantomData }).raw())
        })
    }
}

/// One call of a function.
#[derive(Clone, Copy)]
pub struct Call<'c> {
    info: pg_sys::FunctionCallInfo,
    memory: Memory<'c>,
    of: PhantomData<&'c ()>,
}

impl<'c> Call<'c> {
    pub(in crate::pg) fn raw(self) -> pg_sys::FunctionCallInfo {
        self.info
    }

    /// The memory of arguments and results, which lives as long as the call.
    pub fn memory(self) -> Memory<'c> {
        self.memory
    }

    /// The argument at `index`, unless it is NULL or the SQL declaration does not have it: between
    /// a new library and ALTER EXTENSION, the declaration is that of the version before.
    pub fn new_arg(self, index: usize) -> Option<Datum<'c>> {
        // SAFETY: reads the call.
        let count = unsafe { (*self.info).nargs as usize };
        self.arg(index.min(count - 1)).filter(|_| index < count)
    }

    /// The argument at `index`, unless it is NULL.
    pub fn arg(self, index: usize) -> Option<Datum<'c>> {
        // SAFETY: a call has as many arguments as it says, and they live as long as it does.
        unsafe {
            let count = (*self.info).nargs as usize;
            if index >= count {
                internal("the SQL declaration of a function has too few arguments");
            }
            let arg = (*self.info).args.as_slice(count)[index];
            (!arg.isnull).then(|| Datum::new(arg.value, self.memory))
        }
    }

    /// An argument that must not be NULL. Raises 22004 if it is.
    pub fn required(self, index: usize, name: &str, hint: &str) -> Datum<'c> {
        self.arg(index).unwrap_or_else(|| {
            Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not be NULL"))
                .field(name)
                .hint(hint)
                .raise()
        })
    }

    /// The result NULL.
    pub fn null(self) -> Datum<'c> {
        // SAFETY: the call is going on.
        unsafe { (*self.info).isnull = true };
        Datum::from(false)
    }

    /// The result of a function that returns void.
    #[allow(clippy::unused_self)] // said of a call
    pub fn void(self) -> Datum<'c> {
        Datum::from(0_i64)
    }

    /// A text as the result.
    pub fn text(self, text: &str) -> Datum<'c> {
        self.memory.text(text)
    }

    /// The value that `resolve` returns. It is called once for each expression in each execution of
    /// a statement.
    pub fn once<T: 'static>(self, resolve: impl FnOnce() -> T) -> &'c T {
        // SAFETY: what is kept beside the function is only ever written here. It goes with the
        // function's own memory, which outlives the call.
        let kept = unsafe {
            let info = (*self.info).flinfo;
            // For a function that returns a set, PostgreSQL keeps its own data there.
            if (*info).fn_retset {
                internal("a function that returns a set keeps nothing")
            }
            if (*info).fn_extra.is_null() {
                let resolved: Box<dyn Any> = Box::new(resolve());
                let kept = pgrx::PgMemoryContexts::For((*info).fn_mcxt).leak_and_drop_on_delete(resolved);
                (*info).fn_extra = kept.cast();
            }
            &*(*info).fn_extra.cast::<Box<dyn Any>>()
        };
        kept.downcast_ref().unwrap_or_else(|| internal("a function keeps two things of different types"))
    }
}

/// The elements of an array of a type that is a varlena with the alignment of int4, such as text.
pub fn elements<'c>(array: Datum<'c>, of: pg_sys::Oid) -> Vec<Option<Datum<'c>>> {
    apart(array, of, (-1, false), pg_sys::TYPALIGN_INT)
}

/// The elements of a name[] without its NULLs.
pub fn names(array: Datum<'_>) -> Vec<String> {
    let elements = apart(array, pg_sys::NAMEOID, (pg_sys::NAMEDATALEN as i32, false), pg_sys::TYPALIGN_CHAR);
    elements.into_iter().flatten().map(|element| name(element).to_string_lossy().into_owned()).collect()
}

/// The elements of a smallint[]; 0 for NULL.
pub fn smallints(array: Datum<'_>) -> Vec<i16> {
    let elements = apart(array, pg_sys::INT2OID, (2, true), pg_sys::TYPALIGN_SHORT);
    elements.into_iter().map(|element| element.map_or(0, Datum::i16)).collect()
}

/// How many elements an array of uuid has, NULLs among them.
pub fn count_of_uuids(array: Datum<'_>) -> usize {
    apart(array, pg_sys::UUIDOID, (16, false), pg_sys::TYPALIGN_CHAR).len()
}

/// The elements of an array of a type of this alignment; also given are its width, and whether it is passed by value.
fn apart<'c>(array: Datum<'c>, of: pg_sys::Oid, (width, by_value): (i32, bool), align: u8) -> Vec<Option<Datum<'c>>> {
    let memory = array.memory();
    let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: an array of such values, taken apart in its own memory.
    memory.within(|| unsafe {
        let array = pg_sys::pg_detoast_datum(array.raw().cast_mut_ptr()).cast();
        let align = align as std::ffi::c_char;
        pg_sys::deconstruct_array(array, of, width, by_value, align, &mut elements, &mut nulls, &mut count);
    });
    (0..count as usize)
        .map(|n| {
            // SAFETY: there are `count` of each.
            let (element, is_null) = unsafe { (Datum::new(*elements.add(n), memory), *nulls.add(n)) };
            (!is_null).then_some(element)
        })
        .collect()
}

/// The elements of a text array. Raises 22004 if one is NULL.
pub fn texts<'c>(array: Datum<'c>, name: &str) -> Vec<&'c str> {
    let refuse = || -> &str {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not contain NULL"))
            .field(name)
            .hint("Leave the NULL out.")
            .raise()
    };
    let present = |element: Option<Datum<'c>>| element.map_or_else(refuse, text);
    elements(array, pg_sys::TEXTOID).into_iter().map(present).collect()
}

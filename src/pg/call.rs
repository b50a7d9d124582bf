//! SQL-callable functions: how PostgreSQL finds one, and how one reads its arguments.

use crate::pg::datum::text;
use crate::pg::error::{internal, Code, Fault};
use pgrx::pg_sys::{self, Datum};

/// Makes ready for a set of rows, whose size work_mem does not bound: it goes to disk.
pub unsafe fn result_set(call: Call) -> *mut pg_sys::ReturnSetInfo {
    pg_sys::InitMaterializedSRF(call.0, 0);
    (*call.0).resultinfo.cast()
}

/// Exports `$body` (a `fn(Call) -> Datum`) as the V1 function `$name`, with `$info` as its finfo record.
macro_rules! sql_function {
    ($name:ident, $info:ident, $body:expr) => {
        #[no_mangle]
        pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            static V1: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        /// # Safety
        /// Called by PostgreSQL's function manager alone.
        #[no_mangle]
        pub unsafe extern "C-unwind" fn $name(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            pgrx::pg_sys::panic::pgrx_extern_c_guard(|| {
                $crate::pg::error::contain(|| {
                    let body: unsafe fn($crate::pg::call::Call) -> pgrx::pg_sys::Datum = $body;
                    body($crate::pg::call::Call(fcinfo))
                })
            })
        }
    };
}

pub(crate) use sql_function;

/// One call of a function.
#[derive(Clone, Copy)]
pub struct Call(pub pg_sys::FunctionCallInfo);

impl Call {
    /// The argument at `index`, unless it is NULL.
    pub unsafe fn arg(self, index: usize) -> Option<Datum> {
        if index >= (*self.0).nargs as usize {
            internal("the SQL declaration of a function has too few arguments");
        }
        let arg = (*self.0).args.as_slice((*self.0).nargs as usize)[index];
        (!arg.isnull).then_some(arg.value)
    }

    pub unsafe fn null(self) -> Datum {
        (*self.0).isnull = true;
        Datum::from(0usize)
    }
}

/// What `resolve` gives, once for each expression of each execution of a statement.
pub unsafe fn once<T>(call: Call, resolve: impl FnOnce() -> T) -> &'static T {
    let info = (*call.0).flinfo;
    if (*info).fn_extra.is_null() {
        let resolved = pgrx::PgMemoryContexts::For((*info).fn_mcxt).leak_and_drop_on_delete(resolve());
        (*info).fn_extra = resolved.cast();
    }
    &*(*info).fn_extra.cast::<T>()
}

/// An argument that must not be NULL.
pub unsafe fn required(call: Call, index: usize, name: &str, hint: &str) -> Datum {
    call.arg(index).unwrap_or_else(|| {
        Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not be NULL"))
            .field(name)
            .hint(hint)
            .raise()
    })
}

/// The elements of a text array.
pub unsafe fn texts<'a>(array: Datum, name: &str) -> Vec<&'a str> {
    let array = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
    let (mut elements, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    let align = pg_sys::TYPALIGN_INT as std::ffi::c_char;
    pg_sys::deconstruct_array(array, pg_sys::TEXTOID, -1, false, align, &mut elements, &mut nulls, &mut count);
    (0..count as usize)
        .map(|n| {
            if *nulls.add(n) {
                Fault::new(Code::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{name} must not have a NULL in it"))
                    .field(name)
                    .hint("Leave it out.")
                    .raise()
            }
            text(*elements.add(n))
        })
        .collect()
}

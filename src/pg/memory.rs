//! Memory contexts: what is allocated lives as long as its context, which a lifetime stands for.

use crate::pg::datum::Datum;
use immutable_format::Id;
use pgrx::pg_sys;
use std::marker::PhantomData;

/// A memory context that lives as long as `'m`.
#[derive(Clone, Copy)]
pub struct Memory<'m>(pg_sys::MemoryContext, PhantomData<&'m ()>);

impl<'m> Memory<'m> {
    /// The current context.
    ///
    /// # Safety
    /// It must live as long as `'m`.
    pub(in crate::pg) unsafe fn current() -> Memory<'m> {
        // SAFETY: reads a variable of the one thread there is.
        Memory(unsafe { pg_sys::CurrentMemoryContext }, PhantomData)
    }

    /// # Safety
    /// The context must live as long as `'m`.
    pub(in crate::pg) unsafe fn of(context: pg_sys::MemoryContext) -> Memory<'m> {
        Memory(context, PhantomData)
    }

    /// Where what is passed by value lives: nowhere.
    pub(in crate::pg) const fn none() -> Memory<'static> {
        Memory(std::ptr::null_mut(), PhantomData)
    }

    /// Runs `body` with this as the current context.
    pub fn within<T>(self, body: impl FnOnce() -> T) -> T {
        if self.0.is_null() {
            return body();
        }
        // SAFETY: the context is alive. After an error PostgreSQL sets the current context itself.
        let before = unsafe { pg_sys::MemoryContextSwitchTo(self.0) };
        let done = body();
        // SAFETY: it was the current one a moment ago, and `body` cannot have outlived it.
        unsafe { pg_sys::MemoryContextSwitchTo(before) };
        done
    }

    /// A text.
    pub fn text(self, text: &str) -> Datum<'m> {
        self.bytes(text.as_bytes())
    }

    /// A bytea, or a text whose bytes these are.
    pub fn bytes(self, bytes: &[u8]) -> Datum<'m> {
        // SAFETY: the pointer and the length are a slice's; PostgreSQL copies it into this context.
        let raw =
            self.within(|| unsafe { pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32) });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(raw), self) }
    }

    /// A uuid.
    pub fn uuid(self, id: &Id) -> Datum<'m> {
        self.fixed(id)
    }

    /// A value of a type that is so many bytes long and passed by reference.
    pub fn fixed<const BYTES: usize>(self, bytes: &[u8; BYTES]) -> Datum<'m> {
        // SAFETY: the place has as many bytes as are copied.
        let place = self.within(|| unsafe {
            let place = pg_sys::palloc(BYTES).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, BYTES);
            place
        });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(place), self) }
    }

    /// A cstring, which ends at the first NUL.
    pub fn c_string(self, text: &str) -> Datum<'m> {
        // SAFETY: the place has a byte more than are copied, which is the NUL at the end.
        let place = self.within(|| unsafe {
            let place = pg_sys::palloc0(text.len() + 1).cast::<u8>();
            std::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len());
            place
        });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(place), self) }
    }

    /// An array of elements of one type, none of them NULL. `width` is the type's length, -1 if it varies, and `align` its
    /// alignment, as in pg_type.
    pub fn array(self, elements: &[Datum], of: pg_sys::Oid, width: i32, by_value: bool, align: u8) -> Datum<'m> {
        let mut raw: Vec<pg_sys::Datum> = elements.iter().map(|element| element.raw()).collect();
        // SAFETY: the elements are of that type; PostgreSQL copies them into this context.
        let array = self.within(|| unsafe {
            let align = align as std::ffi::c_char;
            pg_sys::construct_array(raw.as_mut_ptr(), raw.len() as i32, of, width, by_value, align)
        });
        // SAFETY: just made in this context.
        unsafe { Datum::new(pg_sys::Datum::from(array), self) }
    }

    /// A text[].
    pub fn texts<T: AsRef<str>>(self, texts: &[T]) -> Datum<'m> {
        let elements: Vec<Datum> = texts.iter().map(|text| self.text(text.as_ref())).collect();
        self.array(&elements, pg_sys::TEXTOID, -1, false, pg_sys::TYPALIGN_INT)
    }

    /// What the input function of a type makes of a text; raises its error (mostly 22P02) where it makes nothing.
    pub fn input(self, function: u32, text: &str) -> Datum<'m> {
        let text = std::ffi::CString::new(text).unwrap_or_default();
        // SAFETY: an input function of a type that has no type modifier, given a C string.
        let raw = self.within(|| unsafe {
            let (function, text) = (pg_sys::Oid::from(function), text.as_ptr().cast_mut());
            pg_sys::OidInputFunctionCall(function, text, pg_sys::InvalidOid, -1)
        });
        // SAFETY: just made in this context, or passed by value.
        unsafe { Datum::new(raw, self) }
    }

    /// A jsonb of a JSON text; raises 22P02 where it is none.
    pub fn jsonb(self, json: &str) -> Datum<'m> {
        self.input(pg_sys::F_JSONB_IN, json)
    }
}

/// Runs `body` with the current context, which lives as long as that takes.
pub fn here<T>(body: impl for<'t> FnOnce(Memory<'t>) -> T) -> T {
    // SAFETY: nothing deletes the current context while code runs in it.
    body(unsafe { Memory::current() })
}

/// A context of its own below the current one, emptied as often as its user says. It goes with the one it is in.
pub struct Scratch(pg_sys::MemoryContext);

impl Scratch {
    pub fn new() -> Scratch {
        // SAFETY: the current context is alive.
        Scratch(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"immutable row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        })
    }

    /// Runs `body` in it, then empties it.
    pub fn once<T>(&self, body: impl for<'t> FnOnce(Memory<'t>) -> T) -> T {
        // SAFETY: it is emptied only after `body`, whose result cannot have borrowed from it.
        let memory = unsafe { Memory::of(self.0) };
        let done = memory.within(|| body(memory));
        // SAFETY: nothing in it is referred to any longer.
        unsafe { pg_sys::MemoryContextReset(self.0) };
        done
    }
}

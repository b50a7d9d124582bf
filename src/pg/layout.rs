//! Where the values of a row are in its bytes. Two rows are compared by it without taking them apart, which costs more
//! than the comparison when an UPDATE of many rows changes nothing that matters.

#![allow(unsafe_code)]

use crate::pg::tuple::{Descriptor, Tuple};
use pgrx::pg_sys;

/// How the values of a column are stored.
struct Column {
    /// The type's length; -1 for a varlena, and -2 for a C string.
    length: i16,
    align: u8,
    is_compared: bool,
}

/// The columns of a row, up to the last one that is compared.
pub struct Layout(Vec<Column>);

/// The bytes of a row, and how far they have been read.
struct Bytes<'t> {
    nulls: Option<&'t [u8]>,
    data: &'t [u8],
    at: usize,
}

impl Layout {
    /// The layout of rows of which the columns at these places are compared.
    pub fn new(descriptor: Descriptor<'_>, compared: impl Iterator<Item = usize>) -> Layout {
        let mut columns: Vec<Column> = Vec::with_capacity(descriptor.width());
        for place in compared {
            while columns.len() <= place {
                let (length, align) = descriptor.stored(columns.len());
                columns.push(Column { length, align, is_compared: false });
            }
            columns[place].is_compared = true;
        }
        Layout(columns)
    }

    /// Whether two rows are the same in the compared columns, byte for byte, with TOAST pointers as they are. If they
    /// are not, their values may be the same nevertheless.
    pub fn is_same(&self, one: Tuple<'_>, other: Tuple<'_>) -> bool {
        let (Some(mut one), Some(mut other)) = (self.bytes(one), self.bytes(other)) else { return false };
        self.0.iter().enumerate().all(|(place, column)| {
            let (one, other) = (one.next(place, column), other.next(place, column));
            !column.is_compared || one == other
        })
    }

    /// The bytes of a row; None for a row from before a column was added.
    fn bytes<'t>(&self, tuple: Tuple<'t>) -> Option<Bytes<'t>> {
        // SAFETY: the row is alive, has a header, and is as long as it says. A bitmap of NULLs follows the header.
        unsafe {
            let tuple = &*tuple.raw();
            let header = &*tuple.t_data;
            let count = (u32::from(header.t_infomask2) & pg_sys::HEAP_NATTS_MASK) as usize;
            let whole = std::slice::from_raw_parts(tuple.t_data.cast::<u8>(), tuple.t_len as usize);
            let has_nulls = u32::from(header.t_infomask) & pg_sys::HEAP_HASNULL != 0;
            let nulls = has_nulls.then(|| &whole[std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits)..]);
            (count >= self.0.len()).then(|| Bytes { nulls, data: &whole[usize::from(header.t_hoff)..], at: 0 })
        }
    }
}

impl<'t> Bytes<'t> {
    /// The bytes of the next value, in their stored form; None if it is NULL.
    #[inline]
    fn next(&mut self, place: usize, column: &Column) -> Option<&'t [u8]> {
        if self.nulls.is_some_and(|nulls| nulls[place / 8] & 1 << (place % 8) == 0) {
            return None;
        }
        let data = self.data;
        // A varlena with a header of one byte is not aligned, and what precedes an aligned one is zero.
        if column.length != -1 || data[self.at] == 0 {
            self.at = self.at.next_multiple_of(usize::from(column.align));
        }
        let start = self.at;
        self.at += match column.length {
            -1 => varlena_bytes(&data[start..]),
            -2 => data[start..].iter().position(|byte| *byte == 0).map_or(data.len() - start, |end| end + 1),
            length => length as usize,
        };
        Some(&data[start..self.at])
    }
}

/// The size of a varlena with its header.
#[inline]
fn varlena_bytes(varlena: &[u8]) -> usize {
    // SAFETY: a varlena begins with its header, of one byte or of four, and says how long it is.
    unsafe { pgrx::varlena::varsize_any(varlena.as_ptr().cast()) }
}

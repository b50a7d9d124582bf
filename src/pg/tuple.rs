//! Rows, as PostgreSQL has them and as their values.

#![allow(unsafe_code)]

use crate::pg::datum::Datum;
use crate::pg::memory::Memory;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;
use std::marker::PhantomData;

/// The columns of a row: a tuple descriptor.
#[derive(Clone, Copy)]
pub struct Descriptor<'r>(pg_sys::TupleDesc, PhantomData<&'r ()>);

/// A column of a descriptor.
pub struct Attribute<'r> {
    pub name: &'r CStr,
    pub oid: Oid,
    /// The type's length; -1 for a varlena, and -2 for a C string.
    pub length: i16,
    /// Whether its values are passed by value.
    pub is_by_value: bool,
    /// Whether it is generated when it is read, so that rows do not have it.
    pub is_virtual: bool,
}

impl<'r> Descriptor<'r> {
    /// # Safety
    /// It must live as long as `'r`.
    pub(in crate::pg) unsafe fn of(descriptor: pg_sys::TupleDesc) -> Descriptor<'r> {
        Descriptor(descriptor, PhantomData)
    }

    pub(in crate::pg) fn raw(self) -> pg_sys::TupleDesc {
        self.0
    }

    /// The number of columns, including dropped ones.
    pub fn width(self) -> usize {
        // SAFETY: the descriptor is alive.
        unsafe { (*self.0).natts as usize }
    }

    /// The row type and the number of columns.
    fn shape(self) -> (Oid, usize) {
        // SAFETY: the descriptor is alive.
        (unsafe { (*self.0).tdtypeid }, self.width())
    }

    /// Its composite type.
    pub fn row_type(self) -> Oid {
        self.shape().0
    }

    /// The columns that are not dropped, each with its place, counted from 0.
    pub fn attributes(self) -> impl Iterator<Item = (usize, Attribute<'r>)> {
        (0..self.width()).filter_map(move |place| Some((place, self.attribute(place)?)))
    }

    /// Whether it has columns of exactly these types, none of them dropped.
    pub fn is_of(self, types: &[Oid]) -> bool {
        let is_one = |(place, oid): (usize, &Oid)| self.attribute(place).is_some_and(|attribute| attribute.oid == *oid);
        self.width() == types.len() && types.iter().enumerate().all(is_one)
    }

    /// The column at a place, counted from 0; None if it was dropped.
    pub fn attribute(self, place: usize) -> Option<Attribute<'r>> {
        let attribute = self.form(place);
        // SAFETY: a name ends with a NUL.
        let name = unsafe { CStr::from_ptr(attribute.attname.data.as_ptr()) };
        (!attribute.attisdropped).then_some(Attribute {
            name,
            oid: attribute.atttypid,
            length: attribute.attlen,
            is_by_value: attribute.attbyval,
            is_virtual: attribute.attgenerated as u8 == b'v',
        })
    }

    /// The length and the alignment in bytes of the values at a place, which rows may have of a dropped column too. The
    /// length is -1 for a varlena, and -2 for a C string.
    pub(in crate::pg) fn stored(self, place: usize) -> (i16, u8) {
        let attribute = self.form(place);
        let align = match attribute.attalign as u8 {
            pg_sys::TYPALIGN_CHAR => 1,
            pg_sys::TYPALIGN_SHORT => 2,
            pg_sys::TYPALIGN_INT => 4,
            _ => 8,
        };
        (attribute.attlen, align)
    }

    fn form(self, place: usize) -> &'r pg_sys::FormData_pg_attribute {
        assert!(place < self.width(), "a row has no column {place}");
        // SAFETY: the place is one of the descriptor's.
        unsafe {
            #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
            {
                &*(*self.0).attrs.as_ptr().add(place)
            }
            #[cfg(feature = "pg18")]
            {
                &*pg_sys::TupleDescAttr(self.0, place as i32)
            }
        }
    }
}

/// A row as PostgreSQL has it.
#[derive(Clone, Copy)]
pub struct Tuple<'t> {
    tuple: pg_sys::HeapTuple,
    descriptor: Descriptor<'t>,
    memory: Memory<'t>,
}

impl<'t> Tuple<'t> {
    /// # Safety
    /// The row must be one of the descriptor's, and live as long as `'t`.
    pub(in crate::pg) unsafe fn of(
        tuple: pg_sys::HeapTuple,
        descriptor: Descriptor<'t>,
        memory: Memory<'t>,
    ) -> Tuple<'t> {
        Tuple { tuple, descriptor, memory }
    }

    /// The row in a value of a composite type.
    pub fn of_record(record: Datum<'t>) -> Tuple<'t> {
        let memory = record.memory();
        // SAFETY: a composite value is a varlena that begins with a row's header. What is made of
        // it is made in its memory.
        memory.within(|| unsafe {
            let header = pg_sys::pg_detoast_datum(record.raw().cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
            let of = (*header).t_choice.t_datum;
            let descriptor = pg_sys::lookup_rowtype_tupdesc_copy(of.datum_typeid, of.datum_typmod);
            let tuple = pg_sys::palloc0(size_of::<pg_sys::HeapTupleData>()).cast::<pg_sys::HeapTupleData>();
            (*tuple).t_len = pgrx::varlena::varsize_any(header.cast()) as u32;
            (*tuple).t_data = header;
            Tuple::of(tuple, Descriptor::of(descriptor), memory)
        })
    }

    pub(in crate::pg) fn raw(self) -> pg_sys::HeapTuple {
        self.tuple
    }

    /// Its columns.
    pub fn descriptor(self) -> Descriptor<'t> {
        self.descriptor
    }

    /// Its values.
    pub fn values(self) -> Values<'t> {
        let mut values = Values { values: Vec::new(), nulls: Vec::new(), memory: self.memory };
        values.fill(self);
        values
    }

    /// The row as a value of the composite type of its relation.
    pub fn record(self) -> Datum<'t> {
        // SAFETY: a row of the descriptor, copied into its memory.
        unsafe {
            let record = self.memory.within(|| pg_sys::heap_copy_tuple_as_datum(self.tuple, self.descriptor.raw()));
            Datum::new(record, self.memory)
        }
    }

    /// Its place in the table that it was read from.
    pub fn spot(self) -> (u32, u16) {
        // SAFETY: the row is alive.
        let place = unsafe { (*self.tuple).t_self };
        (u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo), place.ip_posid)
    }

    /// Whether a value of it is stored out of line.
    pub fn has_external(self) -> bool {
        // SAFETY: the row is alive.
        u32::from(unsafe { (*(*self.tuple).t_data).t_infomask }) & pg_sys::HEAP_HASEXTERNAL != 0
    }

    /// Whether this transaction inserted it. A row that this transaction updated has its xmin too,
    /// but does not count.
    pub fn is_inserted_here(self) -> bool {
        // SAFETY: the row is alive, and was read from a table.
        let header = unsafe { &*(*self.tuple).t_data };
        if header.t_infomask & pg_sys::HEAP_UPDATED as u16 != 0 {
            return false;
        }
        let frozen = (pg_sys::HEAP_XMIN_COMMITTED | pg_sys::HEAP_XMIN_INVALID) as u16;
        // SAFETY: a row of a table has an xmin.
        let xmin = unsafe { header.t_choice.t_heap.t_xmin };
        // SAFETY: asks about a transaction id.
        header.t_infomask & frozen != frozen && unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xmin) }
    }
}

/// A copy of a row, which outlives the memory that the row is in.
pub struct CopiedTuple {
    tuple: pg_sys::HeapTupleData,
    /// The row's data, aligned as PostgreSQL has it.
    _data: Vec<u64>,
    /// The row type and the number of columns.
    shape: (Oid, usize),
}

impl CopiedTuple {
    /// Copies a row. Values that are stored out of line stay there.
    pub fn of(row: Tuple<'_>) -> CopiedTuple {
        // SAFETY: the row is alive, and has as many bytes as it says.
        let mut tuple = unsafe { *row.tuple };
        let mut data = vec![0_u64; (tuple.t_len as usize).div_ceil(size_of::<u64>())];
        let copy = data.as_mut_ptr();
        // SAFETY: the copy has room for that many bytes.
        unsafe { std::ptr::copy_nonoverlapping(tuple.t_data.cast::<u8>(), copy.cast::<u8>(), tuple.t_len as usize) };
        tuple.t_data = copy.cast();
        CopiedTuple { tuple, _data: data, shape: row.descriptor.shape() }
    }

    pub(in crate::pg) fn raw(&self) -> pg_sys::HeapTuple {
        std::ptr::addr_of!(self.tuple).cast_mut()
    }

    /// The row. The descriptor must be that of the copied row, in the same transaction.
    pub fn tuple<'t>(&'t self, descriptor: Descriptor<'t>, memory: Memory<'t>) -> Tuple<'t> {
        assert_eq!(self.shape, descriptor.shape(), "a row was copied from another relation");
        // SAFETY: a row of these columns, which lives as long as its copy. Nobody writes through
        // the pointer.
        unsafe { Tuple::of(std::ptr::addr_of!(self.tuple).cast_mut(), descriptor, memory) }
    }
}

/// The values of a row.
pub struct Values<'m> {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    memory: Memory<'m>,
}

/// Memory for the values of one row after another.
#[derive(Default)]
pub struct RowBuffer {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl RowBuffer {
    /// Calls `look` with the values of a row.
    pub fn take_apart<T>(&mut self, tuple: Tuple<'_>, look: impl FnOnce(&Values<'_>) -> T) -> T {
        let (values, nulls) = (std::mem::take(&mut self.values), std::mem::take(&mut self.nulls));
        let mut row = Values { values, nulls, memory: tuple.memory };
        row.fill(tuple);
        let seen = look(&row);
        (self.values, self.nulls) = (row.values, row.nulls);
        seen
    }
}

impl<'m> Values<'m> {
    fn fill(&mut self, tuple: Tuple<'m>) {
        let width = tuple.descriptor.width();
        self.values.resize(width, pg_sys::Datum::from(0usize));
        self.nulls.resize(width, true);
        // SAFETY: there is a place for every value of the descriptor's rows.
        unsafe {
            let (values, nulls) = (self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(tuple.tuple, tuple.descriptor.raw(), values, nulls);
        }
    }

    /// The values that a query has sent; there are as many nulls.
    pub(in crate::pg) fn copied(values: &[pg_sys::Datum], nulls: &[bool], memory: Memory<'m>) -> Values<'m> {
        Values { values: values.to_vec(), nulls: nulls.to_vec(), memory }
    }

    /// The value at a place, counted from 0, unless it is NULL.
    pub fn at(&self, place: usize) -> Option<Datum<'m>> {
        // SAFETY: a value of the row, which lives in this memory.
        (!self.nulls[place]).then(|| unsafe { Datum::new(self.values[place], self.memory) })
    }

    /// Puts a value, or NULL, in a place.
    pub fn put(&mut self, place: usize, value: Option<Datum<'m>>) {
        self.values[place] = value.map_or(pg_sys::Datum::from(0usize), Datum::raw);
        self.nulls[place] = value.is_none();
    }

    /// The memory in which new values for the row are made.
    pub fn memory(&self) -> Memory<'m> {
        self.memory
    }

    /// A row of these values, in the memory they are in.
    pub fn form(&mut self, descriptor: Descriptor<'m>) -> Tuple<'m> {
        assert_eq!(self.values.len(), descriptor.width(), "a row has other columns than its table");
        let (memory, values, nulls) = (self.memory, self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
        // SAFETY: as many values as the descriptor has columns.
        unsafe {
            let tuple = memory.within(|| pg_sys::heap_form_tuple(descriptor.raw(), values, nulls));
            Tuple::of(tuple, descriptor, memory)
        }
    }
}

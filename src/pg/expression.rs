//! SQL expressions on the columns of one row.

#![allow(unsafe_code)]

//! What a thief of the files, or a reader of the machine, finds: nothing that is of use (promise 2).

mod process;
mod row_binding;
mod scan;

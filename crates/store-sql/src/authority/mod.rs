//! Rows that can't be forged. A row of an authority table could get somebody a yes: it carries `version`, which rises with each
//! change, `mac_key`, which names the key and the spelling, and `mac`, an HMAC-SHA-256 over the table, the version and every
//! column that decides, by a key that is derived from the deployment's secret.
//!
//! One codec writes and reads them all, by the catalogue in [`tables`](super::tables). A text that names a table as
//! `{users}` reads all of its columns, and what it gives is checked where it is read, whoever reads it: nobody has to think
//! of that. A change reads the row under the locks of its call, and writes it where it still has the MAC that was read.
//!
//! It decides nothing about who may do what. Whether a row that verifies is the newest that was written, it can't say.

mod check;
mod guards;
mod macs;
mod online;
mod renewal;
mod selection;
mod stored;

pub use check::TableCheck;
pub use macs::RowMacs;
pub(crate) use macs::{Trust, Trusted};
pub(crate) use online::Pass;
pub use renewal::RenewalProgress;
pub(crate) use selection::{Held, Selection, checked, each_of, insertions, rows, selections};
pub(crate) use stored::{
    Fields, Insertion, StoredRow, TABLE_TEXTS, change, change_each, change_page, fields, find, insert,
};

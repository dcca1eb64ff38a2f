//! The store: one suite for every adapter (`contract`), and what only a file on a disk can show.

mod contract;
mod sqlite;

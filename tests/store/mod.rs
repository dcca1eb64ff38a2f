//! The store: one suite for every adapter (`contract`), and what only files, processes and disks can show.

mod contract;
mod cost;
mod crash;
mod faults;
mod opening;
mod races;
mod tampering;

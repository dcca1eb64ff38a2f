//! What a person proves themselves by: how it comes, changes and goes.

mod enrolment;
mod lifecycle;
mod own;
mod recovery;
mod resync;
mod security_keys;
mod stock;

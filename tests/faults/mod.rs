//! Faults of the whole: a worker that dies, a server that dies, an HSM that is gone or another, a disk that is full.

mod commit_points;
mod disk;
mod hsm_at_start;
mod keys_lost;
mod server_killed;
mod worker_killed;

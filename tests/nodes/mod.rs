//! Several servers over one PostgreSQL database and one HSM token, behind a balancer.

mod ends;
mod races;
mod together;

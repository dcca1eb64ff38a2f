//! Several servers over one PostgreSQL database, behind a balancer, with one HSM token or one each.

mod ends;
mod own_tokens;
mod races;
mod renewal;
mod together;

//! The verifier where it crosses I/O: keys from files and URLs, and requests through the axum layer.

mod axum_layer;
mod introspection;
mod jwks_source;
mod second_opinion;

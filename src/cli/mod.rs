//! The command line; wires the adapters together.

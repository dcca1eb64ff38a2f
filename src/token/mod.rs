//! What is issued and what is accepted.

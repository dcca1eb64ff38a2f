//! What proves a person.

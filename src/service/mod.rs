//! Use cases: judge, then act.

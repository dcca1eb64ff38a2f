//! What Signet must survive, one test a row: `hazard_07_...` is row 7 of `docs/evidence/hazards.md`.

mod tokens;

//! The pages for people: `/login`, `/logout`, `/account`.

mod account;
mod browser;
mod chromium;
mod security_keys;
mod sessions;
mod sign_in;
mod tokens;

use super::Stage;
use browser::Browser;

/// Makes every session of the deployment as old as if its person had proved who they are so many seconds earlier.
fn age_proofs(stage: &Stage, seconds: i64) {
    stage.sql(&format!("UPDATE sessions SET auth_time = auth_time - {}", seconds * 1000));
}

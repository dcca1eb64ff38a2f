//! The pages for people: `/login`, `/logout`, `/account`.

mod account;
mod browser;
mod chromium;
mod failures;
mod security_keys;
mod sessions;
mod sign_in;
mod tokens;

use super::Stage;
use crate::support::rows::set_signed;
use browser::Browser;

/// Makes every session of the deployment as old as if its person had proved who they are so many seconds earlier.
async fn age_proofs(stage: &Stage, seconds: i64) {
    set_signed(stage.application(), "sessions", "true", "auth_time", &format!("auth_time - {}", seconds * 1000)).await;
}

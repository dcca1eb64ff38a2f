//! A deployment that a command opens: what the person hears meanwhile, who they are, and how the command ends.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::json;

use super::Ended;
use super::output::Output;
use crate::config::Config;
use crate::server::{Need, Notice, Runtime};
use signet_core::audit::RequestContext;

/// The name that the operator gave, where several people share a system account. Set once, from the arguments.
static NAMED_OPERATOR: OnceLock<String> = OnceLock::new();

/// Takes the operator's name from the arguments.
pub(super) fn name_operator(name: &str) -> anyhow::Result<()> {
    let well_formed = (1..=64).contains(&name.chars().count())
        && name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | '@'));
    if !well_formed {
        return Err(Ended::Usage("--operator takes a name of letters, digits, `.`, `-`, `_` and `@`".to_owned()).into());
    }
    // Only the first one counts; there is one command in a process.
    let _ = NAMED_OPERATOR.set(name.to_owned());
    Ok(())
}

/// Who runs this command, for the audit record.
pub(super) fn operator() -> RequestContext {
    let account = format!("uid {}", rustix::process::getuid().as_raw());
    let operator = match NAMED_OPERATOR.get() {
        Some(name) => format!("{name} ({account})"),
        None => account,
    };
    RequestContext { operator: Some(operator), ..RequestContext::default() }
}

/// Opens what a command needs and waits for its HSM tokens.
pub(super) async fn open(config: &Path, need: Need, output: &Output) -> anyhow::Result<Runtime> {
    let notify = |notice: Notice<'_>| match notice {
        Notice::Waiting(hsm, error) => output.progress(&format!("waiting for HSM token {hsm}: {error}")),
        Notice::Without(hsm, error) => output.note(&format!("going on without HSM token {hsm}: {error}")),
    };
    Runtime::open(Config::load_with_environment(config)?, need, &notify).await
}

/// Opens a deployment for a command that can do its part by any HSM token that answers.
pub(super) async fn open_with_any_hsm(config: &Path, output: &Output) -> anyhow::Result<Runtime> {
    let config = Config::load_with_environment(config)?;
    output.progress("waiting for the HSM tokens");
    Runtime::open_with_any_hsm(config).await
}

/// Says that a change was made, and closes.
pub(super) async fn done(runtime: Runtime, output: &Output, what: &str) -> anyhow::Result<()> {
    output.value(&json!({ "done": what }), |_| what.to_owned())?;
    runtime.close().await
}

//! `/api/v1/diagnosis`: what only the process can say that has the store and the HSM tokens open. Whatever can be judged from
//! outside, such as certificates and disks, is the command's (`signet doctor`).
//!
//! Nothing that is looked at is changed, but for one durable write and a test signature by each active key. Signatures a second are
//! not measured: beside load that would take the HSM tokens' time from those who sign in.

mod keys;
mod policy;
mod store;
mod token;

use axum::Json;
use axum::extract::State;

use super::{ApiState, Faults, Refused};
use signet_admin_api::diagnosis::Findings;
use signet_core::duration;
use signet_store::Membership as _;
pub use token::Tokens;

/// Diagnose the deployment: store, policy, HSM tokens, keys
#[utoipa::path(get, path = "/diagnosis", tag = "health", operation_id = "diagnose",
    responses((status = 200, body = Findings), Faults))]
pub(super) async fn show(State(api): State<ApiState>) -> Result<Json<Findings>, Refused> {
    let _one_at_a_time = api.thorough.lock().await;
    Ok(Json(diagnose(&api).await))
}

/// Whether this node can do what is set.
fn settings(api: &ApiState, findings: &mut Findings) {
    let settings = &api.issuer().settings;
    let (lifetime, longest) = (settings.current().access_lifetime, settings.process.longest_token);
    if lifetime > longest {
        let told = format!(
            "tokens last {} (`tokens.access_lifetime`), and the workers of this node sign none that lasts longer than {}",
            duration::text(lifetime),
            duration::text(longest)
        );
        findings.fault(
            "settings",
            told,
            "raise `longest_token` in each [[hsm]] of its configuration, and start it again",
        );
    }
}

/// Looks at everything that the process has open.
pub async fn diagnose(api: &ApiState) -> Findings {
    let mut findings = Findings::default();
    store::examine(api, &mut findings).await;
    match api.issuer().directory.fresh().await {
        Ok(_) => settings(api, &mut findings),
        Err(error) => findings.error("settings", error),
    }
    policy::examine(api, &mut findings).await;
    // A store that can't be read was told of above.
    let members = api.process.store.hsm_members().await.unwrap_or_default();
    let ports = api.signet.ports();
    let tokens = Tokens::ask(ports.key_admin.clone(), ports.hsm_health.clone(), &members).await;
    tokens.examine(api.issuer().settings.current().algorithm, &mut findings);
    if tokens.some_answer() {
        keys::examine(api, &tokens, &mut findings).await;
    }
    findings
}

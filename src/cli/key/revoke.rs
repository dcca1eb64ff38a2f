//! `signet key rotate --emergency`: says what it breaks, and does it when told to.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use crate::causes::with_causes;
use crate::cli::admin::Admin;
use crate::cli::{Ended, Output};
use signet_admin_api::keys::{Consequences, Key, Replacement};

/// What was done, or would be.
#[derive(Serialize)]
struct Report {
    /// Whether the key is revoked.
    revoked: bool,
    consequences: Consequences,
    /// The key that signs now, where another one had to be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<Key>,
    /// What could not be done yet, which the running server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_to_the_server: Option<String>,
}

pub(super) async fn run(admin: &Admin, output: &Output, kid: &str, yes: bool) -> anyhow::Result<()> {
    let revocation = ["keys", kid, "revocation"];
    if !yes {
        let consequences = admin.get(&revocation).await?;
        let report = Report { revoked: false, consequences, replacement: None, left_to_the_server: None };
        output.value(&report, |report| {
            let text = in_words(&report.consequences);
            format!("Revoking {kid} would:\n{text}\n\nNothing was done. To do it, add --yes.")
        })?;
        return Err(Ended::Refused.into());
    }
    // By the store alone: a revocation waits for no HSM.
    let consequences = admin.post(&revocation, &json!({})).await?;
    output.progress(&format!("{kid} is out of the JWKS, and its tokens are inactive"));
    let Replacement { replacement, left_to_the_server } = replace(admin, output, kid).await?;
    let report = Report { revoked: true, consequences, replacement, left_to_the_server };
    output.value(&report, |report| {
        let mut lines = vec![format!("{kid} is revoked for good. This:\n{}", in_words(&report.consequences))];
        if let Some(key) = &report.replacement {
            lines.push(format!("{} {} (HSM token {})", key.kid, key.what_follows, key.hsm));
        }
        match &report.left_to_the_server {
            Some(error) => lines.push(format!(
                "Not done yet: destroying the key in its HSM token, or replacing it: {error}\nThe running server does it \
                 as soon as it can; `signet key list` shows when it is done."
            )),
            None => lines.push("The key is destroyed in its HSM token.".to_owned()),
        }
        lines.join("\n\n")
    })
}

/// Where no HSM token answers, what is left is told, as a server tells it.
async fn replace(admin: &Admin, output: &Output, kid: &str) -> anyhow::Result<Replacement> {
    if let Err(error) = admin.wait_for_any_hsm(output).await {
        return Ok(Replacement { replacement: None, left_to_the_server: Some(with_causes(&error)) });
    }
    admin.post(&["keys", kid, "replacement"], &json!({})).await
}

fn in_words(consequences: &Consequences) -> String {
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let tokens = match consequences.unexpired_tokens {
        0 => "- no token that it signed and that has not expired is on record".to_owned(),
        1 => "- ends 1 token that has not expired: it introspects as inactive at once".to_owned(),
        many => format!("- ends {many} tokens that have not expired: they introspect as inactive at once"),
    };
    let mut lines = vec![tokens];
    if !consequences.audiences.is_empty() {
        lines.push(format!("- concerns the resource servers {}", list(&consequences.audiences)));
        lines.push(format!("- concerns the clients {}: they must ask for tokens again", list(&consequences.clients)));
    }
    lines.push(format!(
        "- reaches verifiers that work by the JWKS alone only when they fetch it again: within {} s as the JWKS says \
         (keys.jwks_max_age), or at once where they are restarted. Until then they accept its tokens, the last until {}",
        consequences.jwks_max_age, consequences.last_expiry
    ));
    lines.push(if consequences.others_sign {
        "- interrupts nothing: another key signs already".to_owned()
    } else if consequences.state == "active" {
        format!(
            "- leaves no key that signs: another one is made and signs at once. Verifiers that keep the JWKS may refuse \
             its tokens for up to {} s",
            consequences.jwks_max_age
        )
    } else {
        "- leaves issuance alone: the key does not sign".to_owned()
    });
    lines.join("\n")
}

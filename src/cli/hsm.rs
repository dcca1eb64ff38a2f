//! `signet hsm`

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::admin::Admin;
use super::confirm::Agreement;
use super::{Output, table};
use crate::server::Need;
use signet_admin_api::hsm::{
    AddedHsm, AllowedLogin, Health, Hsm, LoginAllowance, Membership, RetiredHsm, SealCount, Sealed, Sealing,
    TroubledLogins,
};

#[derive(Debug, Subcommand)]
pub(super) enum HsmCommand {
    /// List the HSM tokens of the deployment and of the configuration.
    List,
    /// Add a configured HSM token to the deployment: make its keys, and seal for it what is sealed for the others.
    /// Again: make up for what it lacks. A running server reads its configuration for it, as on SIGHUP, and takes it in.
    Add {
        /// The name of its [[hsm]].
        name: String,
    },
    /// Take an HSM token out: its keys sign and seal no more, its seals are removed. It need not answer.
    Retire {
        /// The name of its [[hsm]].
        name: String,
        #[command(flatten)]
        agreement: Agreement,
    },
    /// Allow a login at an HSM token after its PIN was refused, or a login ended in a way that nobody knows. Correct the PIN
    /// first: a running server presents it within seconds.
    AllowLogin {
        /// The name of its [[hsm]].
        name: String,
        /// The node whose login is allowed, once; several times for several. This machine's where none is named.
        #[arg(long = "node", value_name = "NODE")]
        nodes: Vec<String>,
        /// The PIN of every node is right: none is held back any more.
        #[arg(long, conflicts_with = "nodes")]
        every_node: bool,
    },
}

impl HsmCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let need = match &self {
            Self::List | Self::AllowLogin { .. } => Need::Store,
            Self::Add { .. } | Self::Retire { .. } => Need::Hsm,
        };
        let admin = Admin::open(config, need, output).await?;
        let done = match self {
            Self::List => list(&admin, output).await,
            Self::Add { name } => add(&admin, output, &name).await,
            Self::Retire { name, agreement } => retire(&admin, output, &name, agreement).await,
            Self::AllowLogin { name, nodes, every_node } => {
                allow_login(&admin, output, &name, &LoginAllowance { nodes, every_node }).await
            }
        };
        admin.close().await?;
        done
    }
}

async fn list(admin: &Admin, output: &Output) -> anyhow::Result<()> {
    let listed = admin.all::<Hsm>(&["hsm"]).await?;
    output.value(&listed, |listed| {
        let columns = ["name", "state", "answers", "token", "serial", "signing key", "seals"];
        let mut text = table(columns, listed.iter().map(row));
        for hsm in listed {
            text.extend(hsm.fault.as_ref().map(|fault| format!("\n{}: does not serve: {fault}", hsm.name)));
            text.extend(hint(hsm).map(|hint| format!("\n{}: {hint}", hsm.name)));
            text.extend(hsm.logins.as_ref().map(|logins| format!("\n{}: {}", hsm.name, logins_hint(hsm, logins))));
        }
        text
    })
}

fn row(hsm: &Hsm) -> [String; 7] {
    let state = match hsm.membership {
        Membership::Member => "member",
        Membership::NotAdded => "not added",
        Membership::NotConfigured => "not configured",
        Membership::Retired => "retired",
    };
    let token = hsm.token.as_ref();
    [
        hsm.name.clone(),
        state.to_owned(),
        answers(hsm.health).to_owned(),
        token.map_or_else(String::new, |token| format!("{} {}", token.manufacturer, token.model)),
        token.map_or_else(String::new, |token| token.serial.clone()),
        hsm.signing_key.as_deref().unwrap_or("none").to_owned(),
        if only_signs(hsm) { "none: it only signs".to_owned() } else { seals_text(&hsm.seals) },
    ]
}

/// Whether it does, as far as this node knows.
const fn answers(health: Option<Health>) -> &'static str {
    match health {
        Some(Health::Serving) => "yes",
        Some(Health::Suspended) => "suspended",
        Some(Health::Away) => "no",
        None => "not asked",
    }
}

fn seals_text(seals: &SealCount) -> String {
    let on_their_way = match seals.waiting {
        0 => String::new(),
        some => format!(", {some} on their way"),
    };
    format!("{} of {}{on_their_way}", seals.sealed, seals.secrets)
}

fn only_signs(hsm: &Hsm) -> bool {
    matches!(hsm.membership, Membership::Member | Membership::NotConfigured) && !hsm.keeps_secrets
}

/// What to do about it.
fn hint(hsm: &Hsm) -> Option<String> {
    let lacking = hsm.seals.secrets.saturating_sub(hsm.seals.sealed);
    match hsm.membership {
        Membership::NotAdded => Some(format!("`signet hsm add {}` makes it part of the deployment", hsm.name)),
        Membership::NotConfigured => {
            Some("it is a member and has no [[hsm]] here: another node reaches it, or `signet hsm retire` it".into())
        }
        Membership::Retired => Some(retired_hint(hsm)),
        Membership::Member if lacking > 0 && !only_signs(hsm) => Some(format!(
            "lacks {lacking} seals: the server makes up for them, and so does `signet hsm add {}`",
            hsm.name
        )),
        Membership::Member => None,
    }
}

fn logins_hint(hsm: &Hsm, logins: &TroubledLogins) -> String {
    let last =
        logins.last.as_ref().map_or_else(String::new, |last| format!("; the last that went wrong was that of {last}"));
    let allow = format!("`signet hsm allow-login {}", hsm.name);
    if logins.others_wait {
        return format!(
            "logins are stopped on every node{last}: check the token and every node's PIN, then {allow} --every-node`, or one \
             --node after the other"
        );
    }
    if let [first, rest @ ..] = logins.stopped.as_slice() {
        let nodes = rest.iter().fold(first.clone(), |nodes, node| format!("{nodes}, {node}"));
        return format!(
            "logins are stopped at node {nodes}{last}: correct the PIN there, then {allow} --node {first}`"
        );
    }
    if logins.allowed.is_empty() {
        return format!(
            "a node whose PIN it never took waits until one whose PIN it did has logged in{last}. Where every node's PIN is \
             right, {allow} --every-node`"
        );
    }
    format!("one login is allowed at node {}", logins.allowed.join(", "))
}

fn retired_hint(hsm: &Hsm) -> String {
    match (hsm.undestroyed, &hsm.published_until) {
        (Some(0), _) => "its signing keys are destroyed: its [[hsm]] can be removed".to_owned(),
        (Some(_), Some(until)) if hsm.signing_key.as_deref() == Some("retiring") => format!(
            "its signing key is published until {until}, and the server destroys it then: keep its [[hsm]] until that is \
             done, or, where the token does not answer any more, until then"
        ),
        _ => "its signing key is out of the JWKS and is destroyed as soon as the token answers; where it never will, remove \
              its [[hsm]]"
            .to_owned(),
    }
}

/// What `add` did.
#[derive(Serialize)]
struct Added {
    #[serde(flatten)]
    added: AddedHsm,
    /// Secrets that were sealed for it just now.
    resealed: u64,
    /// Secrets that no token opens.
    unopened: u64,
}

async fn add(admin: &Admin, output: &Output, name: &str) -> anyhow::Result<()> {
    output.progress(&format!("making keys in HSM token {name}"));
    let added: AddedHsm = admin.post(&["hsm", name, "membership"], &json!({})).await?;
    let mut added = Added { added, resealed: 0, unopened: 0 };
    let mut sealing = Sealing::default();
    loop {
        let sealed: Sealed = admin.post(&["hsm", name, "seals"], &sealing).await?;
        added.resealed += sealed.resealed;
        added.unopened += sealed.unopened;
        added.added.seals = sealed.seals;
        if sealed.next.is_none() {
            break;
        }
        output.progress(&format!("{} of {} secrets are sealed for it", sealed.seals.sealed, sealed.seals.secrets));
        sealing.after = sealed.next;
    }
    output.value(&added, added_text)
}

fn added_text(Added { added, resealed, unopened }: &Added) -> String {
    let rows = added.keys.iter().map(|key| {
        let made = if key.created { "generated" } else { "there already" };
        [key.purpose.replace('_', " "), made.to_owned(), key.kid.clone()]
    });
    let unopened = match unopened {
        0 => String::new(),
        some => format!(
            " {some} secrets can't be opened by any token; `signet user list` and `factor list` show whose they may be."
        ),
    };
    let seals = if added.keeps_secrets {
        let (sealed, secrets) = (added.seals.sealed, added.seals.secrets);
        format!("can open {sealed} of {secrets} secrets; {resealed} were sealed for it now.{unopened}")
    } else {
        "only signs: the deployment's other HSM tokens keep its secrets.".to_owned()
    };
    format!(
        "{keys}\n\n{name} {seals}\nIts signing key is published, and signs once verifiers had the time to fetch it.\nIts audit key \
         is in {audit}: copy that file again to where whoever can write to this machine can't reach it.",
        keys = table(["purpose", "", "kid"], rows),
        name = added.name,
        audit = added.audit_keys,
    )
}

async fn retire(admin: &Admin, output: &Output, name: &str, agreement: Agreement) -> anyhow::Result<()> {
    let listed = admin.all::<Hsm>(&["hsm"]).await?;
    if let Some(hsm) = listed.iter().find(|hsm| hsm.name == name && hsm.membership != Membership::Retired) {
        let others = listed.iter().filter(|other| other.name != name && other.membership == Membership::Member).count();
        let breaks = [
            "have its keys sign and seal nothing any more, for good".to_owned(),
            format!("remove {} seals: what they hold opens in {others} other HSM tokens alone", hsm.seals.sealed),
        ];
        agreement.asked(output, &format!("Retiring HSM token {name}"), &breaks)?;
    }
    let retired: RetiredHsm = admin.post(&["hsm", name, "retirement"], &json!({})).await?;
    output.value(&retired, retired_text)
}

fn retired_text(retired: &RetiredHsm) -> String {
    format!(
        "{name} is retired: nothing is signed or sealed by it any more ({seals} seals were removed).\nIts keys stay \
         published until {until}, when the last token that they signed has expired.\nAfter that, remove its [[hsm]] from \
         the configuration and reload the server (`systemctl reload signet`, or SIGHUP).",
        name = retired.name,
        seals = retired.removed_seals,
        until = retired.published_until,
    )
}

async fn allow_login(admin: &Admin, output: &Output, name: &str, whose: &LoginAllowance) -> anyhow::Result<()> {
    let allowed: AllowedLogin = admin.post(&["hsm", name, "login-allowances"], whose).await?;
    output.value(&allowed, |allowed| allowed_text(allowed, whose.every_node))
}

fn allowed_text(allowed: &AllowedLogin, every_node: bool) -> String {
    let name = &allowed.name;
    let mut text = if every_node {
        format!("Every node may log in at {name} again; a node whose server runs does so within seconds.")
    } else {
        let nodes = allowed.allowed.join(", ");
        format!(
            "One login at {name} is allowed now, of: {nodes}. Where its server runs, it presents its PIN within seconds."
        )
    };
    if !allowed.stopped.is_empty() {
        text.push_str(&format!("\nStill stopped, since their PIN was refused: {}.", allowed.stopped.join(", ")));
    }
    if allowed.others_wait {
        text.push_str("\nLogins are stopped on every node: each other one waits for its own --node, or --every-node.");
    }
    text
}

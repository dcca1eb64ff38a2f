//! The commands that work on a deployment, and how they open it: what the person hears meanwhile, who they are, and how
//! a command ends.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::{Args, Subcommand};

use super::remote::{self, RemoteArguments};
use super::{
    Ended, Output, audit, backup, client, custody, declared, dev, doctor, factor, four_eyes, hsm, hsm_worker, init,
    key, node, otp_client, otp_key, restore, secret, serve, store, user,
};
use crate::config::Config;
use crate::server::{Need, Notice, Runtime};
use signet_core::audit::RequestContext;

/// What every command takes that works on a deployment.
#[derive(Debug, Args)]
pub(super) struct DeploymentArguments {
    /// The configuration file.
    #[arg(long, global = true, env = "SIGNET_CONFIG", default_value = "signet.toml", value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Who you are, for the audit record, where several people share a system account.
    #[arg(long, global = true, value_name = "NAME")]
    operator: Option<String>,
    #[command(flatten)]
    remote: RemoteArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum DeploymentCommand {
    /// Make the keys inside the HSM tokens and bind the deployment to them. Again: make what is missing.
    Init(init::Init),
    /// Serve.
    Serve(serve::Serve),
    /// Talk to one HSM token; `signet serve` starts this, a person never does.
    #[command(hide = true)]
    HsmWorker(hsm_worker::HsmWorker),
    /// Serve a throwaway deployment on a soft token, with a demo user, and print how to get a token.
    Dev(dev::Dev),
    /// Check configuration, HSM tokens, keys, store and disk; each fault comes with what to do.
    Doctor(doctor::Doctor),
    /// Show every key that the deployment depends on, as its HSM describes it. Exit code 1 unless all are held.
    Custody(custody::CustodyCommand),
    /// Signing keys.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// The HSM tokens of the deployment.
    #[command(subcommand)]
    Hsm(hsm::HsmCommand),
    /// The nodes of the deployment: the machines whose servers share its store.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// State settings, roles, clients and users by a file: what differs is shown, then changed.
    Apply(declared::Apply),
    /// Write settings, roles, clients and users in the form that `apply` takes.
    Export(declared::Export),
    /// Settings that wait for another person's approval.
    #[command(subcommand)]
    Settings(declared::SettingsCommand),
    /// Users.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Factors: the hardware tokens and apps that users sign in with.
    #[command(subcommand)]
    Factor(factor::FactorCommand),
    /// Clients: the software that asks for tokens.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Clients of the Yubico validation protocol: the software that has OTPs verified here.
    #[command(subcommand)]
    OtpClient(otp_client::OtpClientCommand),
    /// Yubico OTP keys that are verified for those clients and are no user's factor.
    #[command(subcommand)]
    OtpKey(otp_key::OtpKeyCommand),
    /// The rule that what one operator adds as a factor waits for another person.
    #[command(subcommand)]
    FourEyes(four_eyes::FourEyesCommand),
    /// The secret by which rows that give rights are authenticated.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Write everything that must last to a file, closed by a statement that the HSM signed; a server may run meanwhile.
    Backup(backup::Backup),
    /// Put a backup into an empty store, and end on the record what could have been ended since. No server may run.
    Restore(restore::Restore),
    /// The store: its schema, and moving it.
    #[command(subcommand)]
    Store(store::StoreCommand),
}

impl DeploymentCommand {
    /// Whether it is about this machine whatever is done.
    const fn is_of_the_machine(&self) -> bool {
        matches!(self, Self::Init(_) | Self::Serve(_) | Self::Dev(_) | Self::Restore(_) | Self::Store(_))
    }

    pub(super) async fn run(self, arguments: &DeploymentArguments, output: &Output) -> anyhow::Result<()> {
        let config = arguments.config.as_path();
        if let Some(name) = &arguments.operator {
            name_operator(name)?;
        }
        arguments.remote.take()?;
        if self.is_of_the_machine() {
            remote::must_be_here()?;
        }
        match self {
            // Run before there is a runtime.
            Self::HsmWorker(_) => Ok(()),
            Self::Dev(command) => command.run(output).await,
            Self::Init(command) => command.run(config, output).await,
            Self::Serve(command) => command.run(config, output).await,
            Self::Doctor(command) => command.run(config, output).await,
            Self::Custody(command) => command.run(config, output).await,
            Self::Key(command) => command.run(config, output).await,
            Self::Hsm(command) => command.run(config, output).await,
            Self::Node(command) => command.run(config, output).await,
            Self::Apply(command) => command.run(config, output).await,
            Self::Export(command) => command.run(config, output).await,
            Self::Settings(command) => command.run(config, output).await,
            Self::User(command) => command.run(config, output).await,
            Self::Factor(command) => command.run(config, output).await,
            Self::Client(command) => command.run(config, output).await,
            Self::OtpClient(command) => command.run(config, output).await,
            Self::OtpKey(command) => command.run(config, output).await,
            Self::FourEyes(command) => command.run(config, output).await,
            Self::Secret(command) => command.run(config, output).await,
            Self::Audit(command) => command.run(config, output).await,
            Self::Backup(command) => command.run(config, output).await,
            Self::Restore(command) => command.run(config, output).await,
            Self::Store(command) => command.run(config, output).await,
        }
    }
}

/// The name that the operator gave, where several people share a system account. Set once, from the arguments.
static NAMED_OPERATOR: OnceLock<String> = OnceLock::new();

/// Takes the operator's name from the arguments.
fn name_operator(name: &str) -> anyhow::Result<()> {
    let well_formed = (1..=64).contains(&name.chars().count())
        && name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | '@'));
    if !well_formed {
        return Err(Ended::Usage("--operator takes a name of letters, digits, `.`, `-`, `_` and `@`".to_owned()).into());
    }
    // Only the first one counts; there is one command in a process.
    let _ = NAMED_OPERATOR.set(name.to_owned());
    Ok(())
}

/// The name that the operator gave.
pub(super) fn claimed_name() -> Option<&'static str> {
    NAMED_OPERATOR.get().map(String::as_str)
}

/// Who runs this command, for the audit record.
pub(super) fn operator() -> RequestContext {
    let uid = rustix::process::getuid();
    let account = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid.as_raw()));
    let account = match account.ok().flatten() {
        Some(user) => format!("{} (uid {})", user.name, uid.as_raw()),
        None => format!("uid {}", uid.as_raw()),
    };
    let operator = match claimed_name() {
        Some(name) => format!("{name} by {account}"),
        None => account,
    };
    RequestContext { operator: Some(operator), ..RequestContext::default() }
}

/// The configuration of this machine's deployment.
/// Errors: it can't be used, or another machine was named.
pub(super) fn here(config: &Path) -> anyhow::Result<Config> {
    remote::must_be_here()?;
    Ok(Config::load_with_environment(config)?)
}

/// Opens what a command needs and waits for its HSM tokens.
pub(super) async fn open(config: &Path, need: Need, output: &Output) -> anyhow::Result<Runtime> {
    open_by(here(config)?, need, output).await
}

/// The same by a configuration that was read.
pub(super) async fn open_by(config: Config, need: Need, output: &Output) -> anyhow::Result<Runtime> {
    let notify = |notice: Notice<'_>| match notice {
        Notice::Waiting(hsm, error) => output.progress(&format!("waiting for HSM token {hsm}: {error}")),
        Notice::Without(hsm, error) => output.note(&format!("going on without HSM token {hsm}: {error}")),
    };
    Runtime::open(config, need, &notify).await
}

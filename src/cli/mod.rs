//! The command line: one file per command, each parses, asks and prints.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage. Secrets come on standard input or a prompt, never as an
//! argument: arguments are seen by every process of the machine.

#[cfg(feature = "server")]
mod admin;
#[cfg(feature = "server")]
mod audit;
#[cfg(feature = "server")]
mod audit_records;
#[cfg(feature = "server")]
mod audit_rows;
#[cfg(feature = "server")]
mod backup;
#[cfg(feature = "server")]
mod client;
#[cfg(feature = "server")]
mod confirm;
#[cfg(feature = "server")]
mod custody;
#[cfg(feature = "server")]
mod declared;
#[cfg(feature = "server")]
mod deployment;
#[cfg(feature = "server")]
mod dev;
#[cfg(feature = "server")]
mod doctor;
mod examples;
#[cfg(feature = "server")]
mod factor;
#[cfg(feature = "server")]
mod four_eyes;
#[cfg(feature = "server")]
mod hsm;
#[cfg(feature = "server")]
mod hsm_worker;
#[cfg(feature = "server")]
mod init;
#[cfg(feature = "server")]
mod input;
#[cfg(feature = "server")]
mod key;
mod login;
mod manual;
#[cfg(feature = "server")]
mod node;
#[cfg(feature = "server")]
mod otp_client;
#[cfg(feature = "server")]
mod otp_key;
mod output;
#[cfg(feature = "server")]
mod progress;
#[cfg(feature = "server")]
mod remote;
#[cfg(feature = "server")]
mod restore;
#[cfg(feature = "server")]
mod secret;
#[cfg(feature = "server")]
mod serve;
mod stdin;
#[cfg(feature = "server")]
mod store;
#[cfg(feature = "server")]
mod table;
mod token;
#[cfg(feature = "server")]
mod user;
#[cfg(feature = "server")]
mod user_import;
#[cfg(feature = "server")]
mod user_sign_ins;
#[cfg(feature = "server")]
mod yubico_key;

use crate::causes::with_causes;
use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand};

#[cfg(feature = "server")]
use deployment::operator;
use output::Output;
#[cfg(feature = "server")]
use table::{table, yes_no};
#[cfg(feature = "server")]
use yubico_key::YubicoKeyOptions;

/// A token service whose every private key lives in a PKCS#11 HSM.
#[derive(Debug, Parser)]
#[command(name = "signet", version, about, max_term_width = 100)]
struct Arguments {
    #[cfg(feature = "server")]
    #[command(flatten)]
    deployment: deployment::DeploymentArguments,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "server")]
    #[command(flatten)]
    Deployment(deployment::DeploymentCommand),
    /// Verify or look at a token, without asking the server.
    #[command(subcommand)]
    Token(token::Token),
    /// Sign in at a terminal, and keep the tokens for scripts.
    Login(signet_login::Login),
    /// Revoke and delete the kept tokens.
    Logout(signet_login::Logout),
    /// Print what a shell completes commands by.
    Completions(manual::Completions),
    /// Write the manual's pages, one for each command.
    Man(manual::Man),
}

/// What a command says of its end, beyond success.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The input was wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// What was asked is answered with no, and the answer is printed already: exit code 1.
    #[error("refused")]
    Refused,
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let arguments = Arguments::from_arg_matches(
        &without_empty_variables(examples::commands(), |name| std::env::var_os(name)).get_matches(),
    )
    .unwrap_or_else(|error| error.exit());
    #[cfg(feature = "server")]
    if let Command::Deployment(deployment::DeploymentCommand::HsmWorker(worker)) = &arguments.command {
        return worker.run(&arguments.deployment.config);
    }
    let output = Output::new(arguments.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.problem(&format!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(dispatch(arguments, &output));
    // Blocking reads of standard input must not keep a finished command alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit_code(&error, &output),
    }
}

/// A variable that is set and empty, as a file for containers leaves it, says nothing.
fn without_empty_variables(
    commands: clap::Command,
    value_of: impl Fn(&std::ffi::OsStr) -> Option<std::ffi::OsString>,
) -> clap::Command {
    commands.mut_args(|argument| {
        let is_empty = argument.get_env().and_then(&value_of).is_some_and(|value| value.is_empty());
        if is_empty { argument.env(clap::builder::Resettable::Reset) } else { argument }
    })
}

fn exit_code(error: &anyhow::Error, output: &Output) -> ExitCode {
    match error.downcast_ref::<Ended>() {
        Some(Ended::Refused) => ExitCode::FAILURE,
        Some(Ended::Usage(text)) => {
            output.problem(text);
            ExitCode::from(2)
        }
        None => {
            output.problem(&with_causes(error));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: Arguments, output: &Output) -> anyhow::Result<()> {
    match arguments.command {
        #[cfg(feature = "server")]
        Command::Deployment(command) => command.run(&arguments.deployment, output).await,
        Command::Token(command) => command.run(output).await,
        Command::Login(command) => login::login(command, output).await,
        Command::Logout(command) => login::logout(command, output).await,
        Command::Completions(command) => command.run(output),
        Command::Man(command) => command.run(output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "server")]
    #[test]
    fn hazard_118_a_variable_that_is_set_and_empty_says_nothing() {
        let variables = |value: &'static str| move |_: &std::ffi::OsStr| Some(value.into());
        let has_env = |commands: clap::Command| commands.get_arguments().any(|argument| argument.get_env().is_some());
        assert!(has_env(without_empty_variables(examples::commands(), variables("x"))));
        assert!(!has_env(without_empty_variables(examples::commands(), variables(""))));
    }
}

//! The command line: one file per command, each parses, asks and prints.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage. Secrets come on standard input or a prompt, never as an
//! argument: arguments are seen by every process of the machine.

mod audit;
mod client;
mod custody;
mod deployment;
mod dev;
mod doctor;
mod factor;
mod hsm;
mod hsm_worker;
mod init;
mod input;
mod key;
mod login;
mod otp_client;
mod otp_key;
mod output;
mod serve;
mod token;
mod user;
mod yubico_key;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Output;

/// A token service whose every private key lives in a PKCS#11 HSM.
#[derive(Debug, Parser)]
#[command(name = "signet", version, about, max_term_width = 100)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, env = "SIGNET_CONFIG", default_value = "signet.toml", value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Who you are, for the audit record, where several people share a system account.
    #[arg(long, global = true, value_name = "NAME")]
    operator: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    Key(key::Key),
    /// The HSM tokens of the deployment.
    #[command(subcommand)]
    Hsm(hsm::HsmCommand),
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
    /// Verify or look at a token, without asking the server.
    #[command(subcommand)]
    Token(token::Token),
    /// Sign in at a terminal, and keep the tokens for scripts.
    Login(login::Login),
    /// Revoke and delete the kept tokens.
    Logout(login::Logout),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::Audit),
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
    let arguments = Arguments::parse();
    if let Command::HsmWorker(worker) = &arguments.command {
        return worker.run(&arguments.config);
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

fn exit_code(error: &anyhow::Error, output: &Output) -> ExitCode {
    match error.downcast_ref::<Ended>() {
        Some(Ended::Refused) => ExitCode::FAILURE,
        Some(Ended::Usage(text)) => {
            output.problem(text);
            ExitCode::from(2)
        }
        None => {
            output.problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: Arguments, output: &Output) -> anyhow::Result<()> {
    let config = arguments.config.as_path();
    if let Some(name) = &arguments.operator {
        deployment::name_operator(name)?;
    }
    match arguments.command {
        Command::Init(command) => command.run(config, output).await,
        Command::Serve(command) => command.run(config, output).await,
        Command::HsmWorker(_) => Ok(()),
        Command::Dev(command) => command.run(output).await,
        Command::Doctor(command) => command.run(config, output).await,
        Command::Custody(command) => command.run(config, output).await,
        Command::Key(command) => command.run(config, output).await,
        Command::Hsm(command) => command.run(config, output).await,
        Command::User(command) => command.run(config, output).await,
        Command::Factor(command) => command.run(config, output).await,
        Command::Client(command) => command.run(config, output).await,
        Command::OtpClient(command) => command.run(config, output).await,
        Command::OtpKey(command) => command.run(config, output).await,
        Command::Token(command) => command.run(output).await,
        Command::Login(command) => command.run(output).await,
        Command::Logout(command) => command.run(output).await,
        Command::Audit(command) => command.run(config, output).await,
    }
}

//! An example of each command, for its help and its page of the manual.

use clap::{Command, CommandFactory as _};

use super::Arguments;

/// The command's name without `signet`, and what a person would type.
const EXAMPLES: &[(&str, &str)] = &[
    ("apply", "signet apply -f deployment.toml --dry-run"),
    ("audit export", "signet audit export > audit.jsonl"),
    ("audit follow", "signet audit follow --state /var/lib/siem/signet.state"),
    ("audit list", "signet audit list --user ann --since 24h"),
    ("audit verify", "signet audit verify --file audit.jsonl --key audit.jwk"),
    ("backup", "signet backup signet-2026-11-30.backup"),
    ("backup verify", "signet backup verify signet-2026-11-30.backup --key audit.jwk"),
    (
        "client add",
        "signet client add billing --grant client_credentials --scope invoices.read --audience https://invoices.example",
    ),
    ("client disable", "signet client disable billing"),
    ("client enable", "signet client enable billing"),
    ("client list", "signet client list"),
    ("client remove", "signet client remove billing"),
    ("client renew-secret", "signet client renew-secret billing"),
    ("client set", "signet client set billing --scope \"invoices.read invoices.write\""),
    ("client show", "signet client show billing"),
    ("completions", "signet completions bash > /etc/bash_completion.d/signet"),
    ("custody", "signet custody"),
    ("custody accept", "signet custody accept --why \"the HSM token was restored from its vendor's backup\""),
    ("custody verify", "signet custody verify report.json --key audit.jwk"),
    ("dev", "signet dev --state-dir /tmp/signet"),
    ("doctor", "signet doctor"),
    ("export", "signet export > deployment.toml"),
    ("factor add hotp", "signet factor add hotp --user ann"),
    ("factor add piv", "signet factor add piv --user ann --attestation attestation.pem"),
    ("factor add recovery", "signet factor add recovery --user ann"),
    ("factor add totp", "signet factor add totp --user ann"),
    (
        "factor add yubico-otp",
        "signet factor add yubico-otp --user ann --public-id cccccbcdefgh --private-id 8792ebfe26cc",
    ),
    ("factor add yubico-remote", "signet factor add yubico-remote --user ann --public-id ccccccbteudd"),
    ("factor approve", "signet factor approve 01a22ccd-b4b3-7031-8c03-420e8d62d452 --server https://id.example:9443"),
    ("factor assign", "signet factor assign --serial 4711 --user ann"),
    ("factor disable", "signet factor disable 01a22ccd-b4b3-7031-8c03-420e8d62d452"),
    ("factor enable", "signet factor enable 01a22ccd-b4b3-7031-8c03-420e8d62d452"),
    ("factor export", "signet factor export --format json > factors.json"),
    ("factor import", "signet factor import tokens.pskcxml --key-stdin"),
    ("factor list", "signet factor list --user ann"),
    ("factor remove", "signet factor remove 01a22ccd-b4b3-7031-8c03-420e8d62d452"),
    ("factor rename", "signet factor rename 01a22ccd-b4b3-7031-8c03-420e8d62d452 \"the blue one\""),
    ("factor replace", "signet factor replace --user ann --valid 24h --codes 3"),
    ("factor resync", "signet factor resync 01a22ccd-b4b3-7031-8c03-420e8d62d452"),
    ("factor stock", "signet factor stock"),
    ("four-eyes lower", "signet four-eyes lower --server https://id.example:9443"),
    ("four-eyes show", "signet four-eyes show"),
    ("hsm add", "signet hsm add rack-b"),
    ("hsm allow-login", "signet hsm allow-login rack-b"),
    ("hsm list", "signet hsm list"),
    ("hsm retire", "signet hsm retire rack-b"),
    ("init", "signet init --settings deployment.toml"),
    ("key generate", "signet key generate --algorithm EdDSA"),
    ("key list", "signet key list"),
    ("key rotate", "signet key rotate"),
    ("login", "signet login --issuer https://id.example --client-id ID --client-secret-file laptop.secret"),
    ("logout", "signet logout"),
    ("man", "signet man /usr/local/share/man/man1"),
    ("node admit", "signet node admit TK5N-6S6S-MBU4-EV7S-G2VI-NJJC-QL3X-WZ4A"),
    ("node join", "signet node join rack-b"),
    ("node list", "signet node list"),
    ("node retire", "signet node retire node-b"),
    ("otp-client add", "signet otp-client add vpn --require-signature"),
    ("otp-client disable", "signet otp-client disable vpn"),
    ("otp-client enable", "signet otp-client enable vpn"),
    ("otp-client import", "signet otp-client import clients.csv"),
    ("otp-client list", "signet otp-client list"),
    ("otp-client remove", "signet otp-client remove vpn"),
    ("otp-key add", "signet otp-key add --public-id cccccbcdefgh --private-id 8792ebfe26cc"),
    ("otp-key disable", "signet otp-key disable cccccbcdefgh"),
    ("otp-key enable", "signet otp-key enable cccccbcdefgh"),
    ("otp-key import", "signet otp-key import keys.csv"),
    ("otp-key import-counters", "signet otp-key import-counters counters.csv"),
    ("otp-key list", "signet otp-key list"),
    ("otp-key remove", "signet otp-key remove cccccbcdefgh"),
    ("restore", "signet restore signet-2026-11-30.backup --why \"the disk was lost\""),
    ("secret renew", "signet secret renew --why \"a server's memory may have been read\""),
    ("secret show", "signet secret show"),
    ("serve", "signet serve"),
    ("settings approve", "signet settings approve --server https://id.example:9443"),
    ("settings discard", "signet settings discard"),
    ("settings proposal", "signet settings proposal"),
    ("store copy", "signet store copy --to postgres://signet@db.example/signet --password-file db.password"),
    ("store migrate", "signet store migrate"),
    ("token inspect", "signet token inspect < token.txt"),
    (
        "token verify",
        "signet token verify --jwks https://id.example/oauth2/jwks --issuer https://id.example --audience https://api.example < token.txt",
    ),
    ("user add", "signet user add ann --roles clerk"),
    ("user approve-roles", "signet user approve-roles hal --server https://id.example:9443"),
    ("user disable", "signet user disable ann"),
    ("user enable", "signet user enable ann"),
    ("user end-grant", "signet user end-grant ann 01a22ccd-b4b3-7031-8c03-420e8d62d452"),
    ("user grants", "signet user grants ann"),
    ("user import", "signet user import users.csv --report report.csv"),
    ("user list", "signet user list"),
    ("user locked", "signet user locked"),
    ("user failures", "signet user failures"),
    ("user remove", "signet user remove ann"),
    ("user role-requests", "signet user role-requests"),
    ("user sessions", "signet user sessions ann"),
    ("user set-password", "signet user set-password ann"),
    ("user set-roles", "signet user set-roles ann --roles clerk,auditor"),
    ("user show", "signet user show ann"),
    ("user sign-out", "signet user sign-out ann"),
    ("user unlock", "signet user unlock ann"),
];

/// The program's commands, each with its example.
pub(super) fn commands() -> Command {
    with_examples(Arguments::command(), "")
}

fn with_examples(command: Command, path: &str) -> Command {
    let inner: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    let command = inner.into_iter().fold(command, |command, name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command.mut_subcommand(name, |inner| with_examples(inner, &path))
    });
    match EXAMPLES.iter().find(|(of, _)| *of == path) {
        Some((_, example)) => command.after_help(format!("Example:\n  {example}")),
        None => command,
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    /// The commands that a person types, by name, and each argument of theirs that says nothing.
    fn leaves(command: &Command, path: &str, found: &mut Vec<String>, silent: &mut Vec<String>) {
        let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let unsaid = arguments.filter(|argument| argument.get_help().is_none());
        silent.extend(unsaid.map(|argument| format!("{path}: {}", argument.get_id())));
        let mut inner = command.get_subcommands().filter(|inner| !inner.is_hide_set()).peekable();
        if inner.peek().is_none() {
            found.push(path.to_owned());
        }
        for inner in inner {
            let path =
                if path.is_empty() { inner.get_name().to_owned() } else { format!("{path} {}", inner.get_name()) };
            leaves(inner, &path, found, silent);
        }
    }

    #[test]
    fn every_command_has_an_example_and_every_argument_says_what_it_is() {
        let (mut found, mut silent) = (Vec::new(), Vec::new());
        leaves(&commands(), "", &mut found, &mut silent);
        let without: Vec<_> = found.iter().filter(|name| !EXAMPLES.iter().any(|(of, _)| of == name)).collect();
        assert_eq!((without, silent), (Vec::<&String>::new(), Vec::<String>::new()));
    }

    #[test]
    fn every_example_is_understood() {
        for (of, example) in EXAMPLES {
            // What the shell takes for itself.
            let typed = example.split(['>', '<']).next().unwrap();
            let mut words: Vec<String> = Vec::new();
            for (place, part) in typed.split('"').enumerate() {
                match place % 2 {
                    0 => words.extend(part.split_whitespace().map(str::to_owned)),
                    _ => words.push(part.to_owned()),
                }
            }
            let matched = commands().try_get_matches_from(&words);
            assert!(matched.is_ok(), "{example}: {}", matched.unwrap_err());
            assert!(example.starts_with(&format!("signet {of}")), "{of}: {example}");
        }
    }
}

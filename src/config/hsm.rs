//! `[[hsm]]`: the HSM tokens, and where their PINs are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ConfigError;
use super::section::Section;
use signet_core::keys::{HsmName, SigningPolicy};
use signet_hsm::{Confinement, HsmConfig, PinSource, Sandbox};
use signet_store::HsmRate;

pub(super) const KEYS: &[&str] = &[
    "name",
    "module",
    "init_args",
    "slot",
    "token_label",
    "pin_file",
    "pin_credential",
    "pin_prompt",
    "pin_source",
    // Known only to be refused with a reason.
    LITERAL_PIN,
    "sessions",
    "workers",
    "queue",
    "deadline",
    "environment",
    "longest_token",
    "max_signatures_per_second",
    "capacity",
    "sandbox",
    "network",
    "writable",
    "worker_socket",
];

pub(super) const LITERAL_PIN: &str = "pin";

/// How long a token may last that a worker signs, where nothing is said.
pub(super) const LONGEST_TOKEN: Duration = Duration::from_secs(60 * 60);
/// The greatest number of signatures a second that may be written.
const MAX_PER_SECOND: u32 = 10_000_000;
const INIT_ARGS: &str = "a text without NUL, which the module is given in C_Initialize (see its documentation)";
const PIN_KEYS: &str = "exactly one of pin_file, pin_credential, pin_prompt = true, pin_source";

/// Reads every `[[hsm]]`; all workers are given this policy and this state directory. Gives beside each what the node lets it sign.
pub(super) fn read_all(
    sections: Vec<Section<'_>>,
    policy: &SigningPolicy,
    state_directory: &Path,
) -> Result<(Vec<HsmConfig>, Vec<HsmRate>), ConfigError> {
    if sections.is_empty() {
        let expected = "at least one [[hsm]] with name, module, token_label and a PIN's place".to_owned();
        return Err(ConfigError::Missing { key: "hsm".to_owned(), expected });
    }
    let mut names = BTreeSet::new();
    let (mut tokens, mut rates) = (Vec::new(), Vec::new());
    for section in sections {
        let bound = |key| Ok(Some(section.integer(key, 0..=MAX_PER_SECOND, 0_u32)?).filter(|rate| *rate > 0));
        let (most_per_second, capacity) = (bound("max_signatures_per_second")?, bound("capacity")?);
        let hsm =
            HsmConfig { state_directory: Some(state_directory.to_owned()), ..read(section, &names, policy.clone())? };
        rates.push(HsmRate { hsm: hsm.name.clone(), most_per_second, capacity });
        names.insert(hsm.name.clone());
        tokens.push(hsm);
    }
    Ok((tokens, rates))
}

fn read(
    mut section: Section<'_>,
    taken: &BTreeSet<HsmName>,
    mut policy: SigningPolicy,
) -> Result<HsmConfig, ConfigError> {
    let expected = "the path of a PKCS#11 module, e.g. \"/usr/lib/softhsm/libsofthsm2.so\",";
    let module = section.required("module", section.path("module", expected)?, expected)?;
    let workers = section.integer("workers", 1..=16, 1_u32)?;
    // Shared out among the workers, none of which knows what the others sign.
    policy.most_per_second = section.integer("max_signatures_per_second", 0..=MAX_PER_SECOND, 0_u32)?.div_ceil(workers);
    let day = Duration::from_secs(24 * 60 * 60);
    policy.longest_token = section.duration("longest_token", Duration::from_secs(10)..=day, LONGEST_TOKEN)?;
    Ok(HsmConfig {
        name: name(&section, taken)?,
        module,
        init_args: section.text("init_args", INIT_ARGS)?,
        slot: slot(&section)?.map(u64::from),
        token_label: token_label(&section)?,
        pin: pin_source(&section)?,
        sessions: section.integer("sessions", 1..=256, 4)?,
        workers,
        queue: section.integer("queue", 1..=1_000_000, 1024)?,
        deadline: section.duration(
            "deadline",
            Duration::from_millis(100)..=Duration::from_secs(60),
            Duration::from_secs(2),
        )?,
        environment: environment(&mut section)?,
        worker_socket: section.path("worker_socket", "the path of a socket, e.g. \"/run/signet/hsm-primary.sock\",")?,
        policy,
        confinement: confinement(&section)?,
        state_directory: None,
        expected_serial: None,
        is_careful: false,
    })
}

fn name(section: &Section<'_>, taken: &BTreeSet<HsmName>) -> Result<HsmName, ConfigError> {
    let expected = "a name of 1 to 64 characters a-z, 0-9, - and _, e.g. \"primary\",";
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let read = |name: &str| (name.len() <= 64 && name.bytes().all(known)).then(|| HsmName::new(name));
    let name = section.required_text("name", expected, read)?;
    if taken.contains(&name) {
        return Err(section.unusable("name", "another [[hsm]] has this name: each needs its own"));
    }
    Ok(name)
}

fn slot(section: &Section<'_>) -> Result<Option<u32>, ConfigError> {
    section.has("slot").then(|| section.integer("slot", 0..=u32::MAX, 0)).transpose()
}

fn token_label(section: &Section<'_>) -> Result<String, ConfigError> {
    let expected = "the token's label of 1 to 32 bytes, which are not all blanks,";
    // A token's own label is padded with blanks: those at the end of one are no part of it (PKCS #11 v2.40 §3.2).
    let read = |label: &str| Some(label.trim_end()).filter(|label| (1..=32).contains(&label.len())).map(str::to_owned);
    section.required_text("token_label", expected, read)
}

fn pin_source(section: &Section<'_>) -> Result<PinSource, ConfigError> {
    if section.has(LITERAL_PIN) {
        let problem = "a PIN does not belong in the configuration, which is copied, backed up and read by many. \
                       Write it to a file of mode 0600 and name that as pin_file, and change the PIN";
        return Err(section.unusable(LITERAL_PIN, problem));
    }
    let file = section.path("pin_file", "the path of a file of mode 0600")?.map(PinSource::File);
    let sources: Vec<PinSource> =
        [file, pin_credential(section)?, pin_prompt(section)?, pin_uri(section)?].into_iter().flatten().collect();
    match <[PinSource; 1]>::try_from(sources) {
        Ok([source]) => Ok(source),
        Err(none) if none.is_empty() => section.required("pin_file", None, PIN_KEYS),
        Err(_) => {
            let set = ["pin_source", "pin_prompt", "pin_credential"].into_iter().find(|key| section.has(key));
            let problem = format!("the PIN has more than one place: {PIN_KEYS} is expected");
            Err(section.unusable(set.unwrap_or("pin_file"), problem))
        }
    }
}

fn pin_credential(section: &Section<'_>) -> Result<Option<PinSource>, ConfigError> {
    let expected = "the plain name of a systemd credential";
    let Some(name) = section.text("pin_credential", expected)? else { return Ok(None) };
    if name.starts_with('.') || name.contains('/') {
        return Err(section.unusable("pin_credential", format!("{expected} is expected, not a path")));
    }
    Ok(Some(PinSource::Credential(name)))
}

fn pin_prompt(section: &Section<'_>) -> Result<Option<PinSource>, ConfigError> {
    Ok(section.flag("pin_prompt")?.filter(|prompt| *prompt).map(|_| PinSource::Prompt))
}

/// RFC 7512 §2.4, without the form that runs a command.
fn pin_uri(section: &Section<'_>) -> Result<Option<PinSource>, ConfigError> {
    let expected = "a file URI with an absolute path, e.g. \"file:/etc/signet/pin\"; commands (`|...`) are not run; it";
    section.parsed("pin_source", expected, |text| {
        let url = url::Url::parse(text).ok().filter(|url| url.scheme() == "file" && text.starts_with("file:/"))?;
        let is_plain = url.query().is_none() && url.fragment().is_none();
        is_plain.then(|| url.to_file_path().ok())?.map(PinSource::File)
    })
}

fn environment(section: &mut Section<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let expected = "a table of texts, e.g. { SOFTHSM2_CONF = \"/etc/softhsm2.conf\" },";
    let Some(map) = section.map("environment")? else { return Ok(BTreeMap::new()) };
    let variables = map.texts(expected)?;
    let usable =
        |(name, value): (&String, &String)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    if variables.iter().all(usable) {
        Ok(variables)
    } else {
        Err(section.unusable("environment", "names without `=` and texts without NUL are expected"))
    }
}

fn confinement(section: &Section<'_>) -> Result<Confinement, ConfigError> {
    let sandboxes = [("off", Sandbox::Off), ("standard", Sandbox::Standard), ("strict", Sandbox::Strict)];
    Ok(Confinement {
        sandbox: section.word("sandbox", &sandboxes, Sandbox::default())?,
        network: section.flag("network")?.unwrap_or(false),
        writable: writable(section)?,
    })
}

fn writable(section: &Section<'_>) -> Result<Option<Vec<PathBuf>>, ConfigError> {
    let expected = "a list of paths, e.g. [\"/var/lib/softhsm/tokens\"],";
    let Some(paths) = section.list("writable", expected)? else { return Ok(None) };
    if paths.iter().any(|path| path.is_empty() || path.contains('\0')) {
        return Err(section.unusable("writable", format!("{expected} is expected, none of them empty")));
    }
    Ok(Some(paths.iter().map(|path| section.resolve(path)).collect()))
}

//! `[[hsm]]`: the HSM tokens, and where their PINs are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::ConfigError;
use super::hsm_worker::HsmWorkerConfig;
use super::section::Section;
use signet_core::keys::HsmName;

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
    "max_signatures_per_second",
    "sandbox",
    "network",
    "writable",
    "worker_socket",
];

pub(super) const LITERAL_PIN: &str = "pin";

const PIN_KEYS: &str = "exactly one of pin_file, pin_credential, pin_prompt = true, pin_source";

/// One `[[hsm]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmConfig {
    /// `name`: by which keys and sealed secrets refer to this HSM token, for good.
    pub name: HsmName,
    /// `module`: the vendor's PKCS#11 library.
    pub module: PathBuf,
    /// `init_args`: a text for the module in `C_Initialize`, for those that want their configuration there (NSS).
    pub init_args: Option<String>,
    /// `slot`: the slot's number as the module counts, where the label alone does not tell the token.
    pub slot: Option<u32>,
    /// `token_label`: the token's label, `CK_TOKEN_INFO.label`.
    pub token_label: String,
    /// Where the PIN is.
    pub pin: PinSource,
    /// `sessions`: sessions of each worker, each with a thread.
    pub sessions: u32,
    /// `workers`: worker processes, for modules whose own locks are what limits them.
    pub workers: u32,
    /// `queue`: requests that may wait; a further one is answered with 503.
    pub queue: usize,
    /// `deadline`: how long one operation may take, waiting included.
    pub deadline: Duration,
    /// `environment`: variables of the worker alone, e.g. `SOFTHSM2_CONF`.
    pub environment: BTreeMap<String, String>,
    /// What its worker may do.
    pub worker: HsmWorkerConfig,
}

/// Where the worker reads the PIN. The PIN itself is never in the configuration, an argument or the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// `pin_file`, or `pin_source = "file:/path"`: a file that only its owner can read.
    File(PathBuf),
    /// `pin_credential`: a systemd credential, by name.
    Credential(String),
    /// `pin_prompt = true`: a person types it when the worker starts.
    Prompt,
}

impl HsmConfig {
    pub(super) fn read_all(sections: Vec<Section<'_>>) -> Result<Vec<Self>, ConfigError> {
        if sections.is_empty() {
            let expected = "at least one [[hsm]] with name, module, token_label and a PIN's place".to_owned();
            return Err(ConfigError::Missing { key: "hsm".to_owned(), expected });
        }
        let mut names = BTreeSet::new();
        let mut tokens = Vec::new();
        for section in sections {
            let hsm = Self::read(section, &names)?;
            names.insert(hsm.name.clone());
            tokens.push(hsm);
        }
        Ok(tokens)
    }

    fn read(mut section: Section<'_>, taken: &BTreeSet<HsmName>) -> Result<Self, ConfigError> {
        let expected = "the path of a PKCS#11 module, e.g. \"/usr/lib/softhsm/libsofthsm2.so\",";
        let module = section.required("module", section.path("module", expected)?, expected)?;
        Ok(Self {
            name: name(&section, taken)?,
            module,
            init_args: init_args(&section)?,
            slot: slot(&section)?,
            token_label: token_label(&section)?,
            pin: PinSource::read(&section)?,
            sessions: section.integer("sessions", 1..=256, 4)?,
            workers: section.integer("workers", 1..=16, 1)?,
            queue: section.integer("queue", 1..=1_000_000, 1024_u32)? as usize,
            deadline: section.duration(
                "deadline",
                Duration::from_millis(100)..=Duration::from_secs(60),
                Duration::from_secs(2),
            )?,
            worker: HsmWorkerConfig::read(&section)?,
            environment: environment(&mut section)?,
        })
    }
}

fn name(section: &Section<'_>, taken: &BTreeSet<HsmName>) -> Result<HsmName, ConfigError> {
    let expected = "a name of 1 to 64 characters a-z, 0-9, - and _, e.g. \"primary\",";
    let name = section.required("name", section.text("name", expected)?, expected)?;
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if name.len() > 64 || !name.bytes().all(known) {
        return Err(section.unusable("name", format!("{expected} is expected")));
    }
    let name = HsmName::new(name);
    if taken.contains(&name) {
        return Err(section.unusable("name", "another [[hsm]] has this name: each needs its own"));
    }
    Ok(name)
}

fn init_args(section: &Section<'_>) -> Result<Option<String>, ConfigError> {
    let expected = "a text without NUL, which the module is given in C_Initialize (see its documentation)";
    let text = section.text("init_args", expected)?;
    if text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(section.unusable("init_args", format!("{expected} is expected")));
    }
    Ok(text)
}

fn slot(section: &Section<'_>) -> Result<Option<u32>, ConfigError> {
    section.has("slot").then(|| section.integer("slot", 0..=u32::MAX, 0)).transpose()
}

fn token_label(section: &Section<'_>) -> Result<String, ConfigError> {
    let expected = "the token's label of 1 to 32 bytes";
    let label = section.required("token_label", section.text("token_label", expected)?, expected)?;
    if label.len() > 32 {
        return Err(section.unusable("token_label", format!("{expected} is expected")));
    }
    Ok(label)
}

impl PinSource {
    fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        if section.has(LITERAL_PIN) {
            let problem = "a PIN does not belong into the configuration, which is copied, backed up and read by many. \
                           Write it to a file of mode 0600 and name that as pin_file, and change the PIN";
            return Err(section.unusable(LITERAL_PIN, problem));
        }
        let file = section.path("pin_file", "the path of a file of mode 0600")?.map(Self::File);
        let sources: Vec<Self> = [file, Self::credential(section)?, Self::prompt(section)?, Self::source(section)?]
            .into_iter()
            .flatten()
            .collect();
        match <[Self; 1]>::try_from(sources) {
            Ok([source]) => Ok(source),
            Err(none) if none.is_empty() => section.required("pin_file", None, PIN_KEYS),
            Err(_) => {
                let set = ["pin_source", "pin_prompt", "pin_credential"].into_iter().find(|key| section.has(key));
                let problem = format!("the PIN has more than one place: {PIN_KEYS} is expected");
                Err(section.unusable(set.unwrap_or("pin_file"), problem))
            }
        }
    }

    fn credential(section: &Section<'_>) -> Result<Option<Self>, ConfigError> {
        let expected = "the plain name of a systemd credential";
        let Some(name) = section.text("pin_credential", expected)? else { return Ok(None) };
        if name.starts_with('.') || name.contains('/') {
            return Err(section.unusable("pin_credential", format!("{expected} is expected, not a path")));
        }
        Ok(Some(Self::Credential(name)))
    }

    fn prompt(section: &Section<'_>) -> Result<Option<Self>, ConfigError> {
        Ok(section.flag("pin_prompt")?.filter(|prompt| *prompt).map(|_| Self::Prompt))
    }

    /// RFC 7512 §2.4, without the form that runs a command.
    fn source(section: &Section<'_>) -> Result<Option<Self>, ConfigError> {
        let expected =
            "a file URI with an absolute path, e.g. \"file:/etc/signet/pin\"; commands (`|...`) are not run; it";
        let Some(text) = section.text("pin_source", expected)? else { return Ok(None) };
        let path = url::Url::parse(&text).ok().filter(|url| url.scheme() == "file");
        let path = path.filter(|url| url.query().is_none() && url.fragment().is_none());
        match path.and_then(|url| url.to_file_path().ok()) {
            Some(path) if text.starts_with("file:/") => Ok(Some(Self::File(path))),
            _ => Err(section.unusable("pin_source", format!("{expected} is expected"))),
        }
    }
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

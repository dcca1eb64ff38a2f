//! The file that states a deployment: settings by section, clients and users. There is no secret in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signet_core::settings::{KeyWords, MfaWords, PolicyWords, RoleWords, SettingsDocument, TokenWords};

/// What a certificate in PEM begins with: such a text is no path.
const PEM: &str = "-----BEGIN ";
/// The longest file that is read, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// What a file states. What it does not name stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct DeploymentFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<TokenWords>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<KeyWords>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roles: Option<RoleWords>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyWords>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mfa: Option<MfaWords>,
    /// Clients, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) clients: Vec<StatedClient>,
    /// Users, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) users: Vec<StatedUser>,
}

/// A client as it is stated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatedClient {
    pub(super) name: String,
    pub(super) grants: BTreeSet<String>,
    #[serde(default)]
    pub(super) scopes: BTreeSet<String>,
    /// The issuer itself where a new client has none; those that are there stay where a client has none here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) audiences: BTreeSet<String>,
    /// Those that are there stay where a client has none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) allow_from: Option<BTreeSet<String>>,
    /// As of `allow_from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origins: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) enabled: Option<bool>,
}

/// A user as they are stated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatedUser {
    pub(super) name: String,
    #[serde(default)]
    pub(super) roles: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) enabled: Option<bool>,
}

impl DeploymentFile {
    /// Of settings, clients and users as they are.
    pub(super) fn of(settings: SettingsDocument, clients: Vec<StatedClient>, users: Vec<StatedUser>) -> Self {
        let SettingsDocument { tokens, keys, roles, policy, mfa } = settings;
        Self { tokens, keys, roles, policy, mfa, clients, users }
    }

    /// The settings.
    pub(in crate::cli) fn settings(&self) -> SettingsDocument {
        let Self { tokens, keys, roles, policy, mfa, .. } = self.clone();
        SettingsDocument { tokens, keys, roles, policy, mfa }
    }

    /// Reads a file, every `.toml` of a folder, or standard input (`-`).
    /// Errors: what can't be read or is stated twice, by file, line and name.
    pub(in crate::cli) fn read(from: &Path) -> anyhow::Result<Self> {
        if from == Path::new("-") {
            let mut bytes = zeroize::Zeroizing::new(Vec::new());
            std::io::stdin().take(LONGEST).read_to_end(&mut bytes).context("standard input can't be read")?;
            let text = signet_text_file::text(bytes).context("standard input is no text")?;
            return Self::parse(&text, Path::new(".")).context("standard input");
        }
        if !from.is_dir() {
            return Self::read_one(from);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))? {
            files.push(entry?.path());
        }
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        files.sort();
        ensure!(!files.is_empty(), "there is no .toml file in {}", from.display());
        let mut whole = Self::default();
        for file in files {
            whole = whole.and(Self::read_one(&file)?).with_context(|| file.display().to_string())?;
        }
        Ok(whole)
    }

    fn read_one(file: &Path) -> anyhow::Result<Self> {
        let text = signet_text_file::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder).with_context(|| file.display().to_string())
    }

    /// Reads a text whose relative paths start at `folder`.
    fn parse(text: &str, folder: &Path) -> anyhow::Result<Self> {
        let file: Self = toml::from_str(text).map_err(|error| unfit(text, &error))?;
        file.whole(folder)
    }

    /// Reads what an older configuration says of what lies in the store now.
    /// Errors: there is nothing of it.
    pub(super) fn of_configuration(config: &Path) -> anyhow::Result<(Self, Vec<String>)> {
        let text =
            signet_text_file::read_to_string(config).with_context(|| format!("can't read {}", config.display()))?;
        let mut table: toml::Table = text.parse().map_err(|error| unfit(&text, &error))?;
        table.retain(|section, _| SettingsDocument::SECTIONS.contains(&section));
        ensure!(
            !table.is_empty(),
            "{} has nothing of what lies in the store: its sections would be {}",
            config.display(),
            SettingsDocument::SECTIONS.join(", ")
        );
        let mut elsewhere = Vec::new();
        if let Some(mfa) = table.get_mut("mfa").and_then(toml::Value::as_table_mut) {
            for (key, place) in [
                ("four_eyes", "admin.four_eyes"),
                ("password_concurrency", "server.limits.password_concurrency"),
                ("yubico_validation", "[yubico_validation]"),
            ] {
                if mfa.remove(key).is_some() {
                    elsewhere.push(format!("mfa.{key} is now {place} of the configuration"));
                }
            }
        }
        let file: Self = toml::Value::Table(table).try_into().map_err(|error| unfit("", &error))?;
        Ok((file.whole(config.parent().unwrap_or(Path::new(".")))?, elsewhere))
    }

    /// With certificates in the place of the files that hold them, and every name once.
    fn whole(mut self, folder: &Path) -> anyhow::Result<Self> {
        if let Some(piv) = self.mfa.as_mut().and_then(|mfa| mfa.piv.as_mut()) {
            for text in piv.roots.iter_mut().chain(&mut piv.attestation_roots) {
                *text = contents(text, folder, "mfa.piv")?;
            }
        }
        let webauthn = self.mfa.as_mut().and_then(|mfa| mfa.webauthn.as_mut());
        if let Some(roots) = webauthn.and_then(|webauthn| webauthn.trusted_roots.as_mut()) {
            *roots = without_the_rest(contents(roots, folder, "mfa.webauthn.trusted_roots")?);
        }
        once("client", self.clients.iter().map(|client| client.name.as_str()))?;
        once("user", self.users.iter().map(|user| user.name.as_str()))?;
        Ok(self)
    }

    /// Two files together.
    /// Errors: what both state.
    fn and(mut self, other: Self) -> anyhow::Result<Self> {
        let [here, there] = [&self, &other].map(|file| {
            let told = serde_json::to_value(file.settings()).unwrap_or_default();
            told.as_object().map(|sections| sections.keys().cloned().collect::<BTreeSet<_>>()).unwrap_or_default()
        });
        if let Some(section) = here.intersection(&there).next() {
            bail!("[{section}] stands in another file of the folder already");
        }
        let settings = self.settings().with(other.settings());
        self.clients.extend(other.clients);
        self.users.extend(other.users);
        once("client", self.clients.iter().map(|client| client.name.as_str()))?;
        once("user", self.users.iter().map(|user| user.name.as_str()))?;
        Ok(Self::of(settings, self.clients, self.users))
    }
}

/// What does not fit, by its place and by names alone: a line may hold what was meant for another file.
fn unfit(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let names_alone = ["unknown field", "missing field", "duplicate field"];
    let what = match error.message() {
        message if names_alone.iter().any(|start| message.starts_with(start)) => message,
        _ => "it is not TOML, or a value is none that is taken there (docs/reference/settings.md)",
    };
    let before = error.span().and_then(|span| text.get(..span.start)).filter(|_| !text.is_empty());
    match before {
        Some(before) => anyhow::anyhow!("line {}: {what}", before.matches('\n').count() + 1),
        None => anyhow::anyhow!("{what}"),
    }
}

fn once<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    for name in names {
        ensure!(seen.insert(name, ()).is_none(), "the {what} `{name}` is stated twice");
    }
    Ok(())
}

/// What a file holds, where a text is its path.
fn contents(text: &str, folder: &Path, setting: &str) -> anyhow::Result<String> {
    let begins = text.trim_start();
    if begins.starts_with(PEM) || begins.starts_with('{') {
        return Ok(text.to_owned());
    }
    let file: PathBuf = folder.join(text);
    signet_text_file::read_to_string(&file).with_context(|| format!("can't read {} ({setting})", file.display()))
}

/// Of a FIDO metadata BLOB's payload, what is held against a key: its makers' descriptions are megabytes.
fn without_the_rest(text: String) -> String {
    let Ok(Value::Object(payload)) = serde_json::from_str::<Value>(&text) else { return text };
    let entries = payload.get("entries").and_then(Value::as_array).into_iter().flatten();
    let kept = entries.filter(|entry| entry.get("aaguid").is_some_and(Value::is_string)).map(|entry| {
        let states = entry.get("statusReports").and_then(Value::as_array).into_iter().flatten();
        let states: Vec<Value> = states.map(|report| json!({"status": report.get("status")})).collect();
        let statement = entry.get("metadataStatement").map(|statement| {
            json!({
                "description": statement.get("description").cloned().unwrap_or_else(|| json!("")),
                "attestationRootCertificates":
                    statement.get("attestationRootCertificates").cloned().unwrap_or_else(|| json!([])),
            })
        });
        json!({"aaguid": entry.get("aaguid"), "metadataStatement": statement, "statusReports": states})
    });
    json!({ "entries": kept.collect::<Vec<_>>() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_states_each_section_and_name_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("1-settings.toml", "[tokens]\naccess_lifetime = \"10m\"\n[[users]]\nname = \"ann\"");
        write("2-users.toml", "\u{feff}[roles]\nclerk = [\"read\"]\n[[users]]\nname = \"bob\"\nroles = [\"clerk\"]");
        write("notes.txt", "no TOML");
        let whole = DeploymentFile::read(folder.path()).unwrap();
        assert!(whole.settings().tokens.is_some() && whole.settings().roles.is_some());
        assert_eq!(whole.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ann", "bob"]);
        for (text, expected) in [
            ("[tokens]\nalgorithm = \"ES256\"", "[tokens] stands in another file"),
            ("[[users]]\nname = \"ann\"", "the user `ann` is stated twice"),
            ("[token]\n", "unknown field `token`"),
            ("[[users]]\nname = \"eve\"\npassword = \"s3cret\"", "line 3: unknown field `password`"),
            ("[mfa]\ntries = \"s3cret\"", "line 2: it is not TOML, or a value"),
            ("[mfa]\npause = \"s3cret", "line 2: it is not TOML, or a value"),
        ] {
            write("3-more.toml", text);
            let told = format!("{:#}", DeploymentFile::read(folder.path()).unwrap_err());
            assert!(told.contains(expected) && told.contains("3-more.toml"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn certificates_are_read_from_their_files_and_metadata_is_cut_to_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
        std::fs::write(folder.path().join("root.pem"), pem).unwrap();
        let blob = json!({"legalHeader": "x", "entries": [{"aaguid": "cb69481e-8ff7-4039-93ec-0a2729a154a8",
            "metadataStatement": {"description": "a key", "icon": "long", "attestationRootCertificates": ["MA=="]},
            "statusReports": [{"status": "REVOKED", "url": "x"}]}, {"aaid": "1#2"}]});
        std::fs::write(folder.path().join("blob.json"), blob.to_string()).unwrap();
        let text = "[mfa.piv]\nroots = [\"root.pem\"]\n[mfa.webauthn]\nattestation = \"required\"\ntrusted_roots = \"blob.json\"";
        std::fs::write(folder.path().join("deployment.toml"), text).unwrap();
        let mfa = DeploymentFile::read(&folder.path().join("deployment.toml")).unwrap().mfa.unwrap();
        assert_eq!(mfa.piv.unwrap().roots, [pem]);
        let roots: Value = serde_json::from_str(&mfa.webauthn.unwrap().trusted_roots.unwrap()).unwrap();
        assert_eq!(
            roots,
            json!({"entries": [{"aaguid": "cb69481e-8ff7-4039-93ec-0a2729a154a8",
            "metadataStatement": {"description": "a key", "attestationRootCertificates": ["MA=="]},
            "statusReports": [{"status": "REVOKED"}]}]})
        );
        let missing = text.replace("root.pem", "none.pem");
        std::fs::write(folder.path().join("deployment.toml"), missing).unwrap();
        let told = DeploymentFile::read(&folder.path().join("deployment.toml")).unwrap_err();
        assert!(format!("{told:#}").contains("none.pem (mfa.piv)"), "{told:#}");
    }

    #[test]
    fn what_an_older_configuration_says_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("signet.toml");
        std::fs::write(&file, "[server]\npublic_url = \"x\"\n[mfa]\nfour_eyes = true\ntries = 3\npause = \"18m\"")
            .unwrap();
        let (taken, elsewhere) = DeploymentFile::of_configuration(&file).unwrap();
        assert_eq!(taken.settings().mfa.unwrap().tries, Some(3));
        assert_eq!(elsewhere, ["mfa.four_eyes is now admin.four_eyes of the configuration"]);
        std::fs::write(&file, "[server]\npublic_url = \"x\"").unwrap();
        assert!(DeploymentFile::of_configuration(&file).is_err());
    }

    #[test]
    fn the_documented_settings_are_those_there_are_and_their_defaults() {
        const DOCS: &str = include_str!("../../../docs/reference/settings.md");
        let block = DOCS.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let judged = |document: &SettingsDocument| {
            let url = url::Url::parse("https://id.example.org").unwrap();
            signet_core::settings::TenantSettings::judge(document, &url).unwrap().document
        };
        let documented = DeploymentFile::parse(block, Path::new(".")).unwrap().settings();
        assert_eq!(judged(&documented), judged(&SettingsDocument::default()));
        // Each key of the documentation is one that a file can have, and no other is.
        for row in DOCS.lines().filter_map(|line| line.strip_prefix("| `")) {
            let setting = row.split('`').next().unwrap();
            let (section, key) = setting.rsplit_once('.').unwrap();
            let refused = DeploymentFile::parse(&format!("[{section}]\n\"{key}\" = {{ }}"), Path::new(".")).map(drop);
            let told = refused.map_or_else(|error| format!("{error:#}"), |()| String::new());
            assert!(!told.contains("unknown field"), "{setting}: {told}");
        }
    }
}

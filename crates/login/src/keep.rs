//! Where tokens are kept between commands: a file that only its owner can read, replaced whole, under a lock. Where the
//! system's keyring is asked for, the secrets are there, and the file holds the rest.

use std::fs::{DirBuilder, File};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use signet_secret::SecretText;
use signet_state_file::{Access, LockedFile};

use crate::error::{LoginError, Result, because};
use crate::keyring::Entry;
use crate::tokens::Tokens;

/// How long another process may take for its refresh.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest file that is read, in bytes.
const LONGEST: u64 = 256 * 1024;
/// The members of [`Kept`] that go into the keyring.
const SECRETS: [&str; 2] = ["client_secret", "tokens"];

/// A sign-in as it is kept. It has no `Debug`: it holds the client's secret and the tokens.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) token_endpoint: String,
    pub(crate) revocation_endpoint: Option<String>,
    pub(crate) user: String,
    pub(crate) ca: Option<PathBuf>,
    /// Whether the system's keyring holds the secrets.
    #[serde(default)]
    pub(crate) in_keyring: bool,
    pub(crate) tokens: Tokens,
}

/// The folder of this user's sign-in.
pub(crate) struct Place(PathBuf);

/// The folder, locked against other processes until this is dropped.
pub(crate) struct Held<'p> {
    place: &'p Place,
    _lock: LockedFile,
}

impl Place {
    /// `$XDG_STATE_HOME/signet`, or `~/.local/state/signet`.
    pub(crate) fn of_this_user() -> Result<Self> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        let nowhere = "neither XDG_STATE_HOME nor HOME is set: there is no place to keep tokens in";
        let state = state.ok_or_else(|| LoginError::Keeping(nowhere.to_owned()))?;
        Ok(Self(state.join("signet")))
    }

    fn file(&self) -> PathBuf {
        self.0.join("login.json")
    }

    /// What is kept, without the lock: file and keyring item are only ever replaced whole.
    pub(crate) async fn read(&self) -> Result<Option<Kept>> {
        let Some(mut members) = self.read_file()? else { return Ok(None) };
        if is_in_keyring(&members) {
            let path = self.file().display().to_string();
            let Some(secrets) = entry(&path, "the sign-in").secret().await? else { return Ok(None) };
            members.extend(serde_json::from_slice::<Map<_, _>>(&secrets).map_err(|_| self.garbled())?);
        }
        serde_json::from_value(Value::Object(members)).map(Some).map_err(|_| self.garbled())
    }

    /// Whether the system's keyring does its part.
    pub(crate) async fn try_keyring(&self) -> Result<()> {
        entry(&self.file().display().to_string(), "the sign-in").secret().await.map(drop)
    }

    fn read_file(&self) -> Result<Option<Map<String, Value>>> {
        let path = self.file();
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&path)(error)),
            Ok(file) => {
                self.check_folder()?;
                let bytes = read_owners_file(file, &path)?;
                serde_json::from_slice(&bytes).map(Some).map_err(|_| self.garbled())
            }
        }
    }

    /// serde's own text may show what stands in the file.
    fn garbled(&self) -> LoginError {
        LoginError::Keeping(format!("{} can't be understood: delete it and sign in again", self.file().display()))
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> Result<Held<'_>> {
        let lock = LockedFile::open(&self.lock_file()?, Access::InPlace);
        Ok(Held { place: self, _lock: lock.map_err(because(LoginError::Keeping, "the lock can't be taken"))? })
    }

    /// Takes the lock without keeping the runtime from its work, and gives up in the end.
    pub(crate) async fn lock_patiently(&self) -> Result<Held<'_>> {
        let (path, deadline) = (self.lock_file()?, Instant::now() + PATIENCE);
        loop {
            match LockedFile::try_open(&path, Access::InPlace) {
                Ok(Some(lock)) => return Ok(Held { place: self, _lock: lock }),
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(None) => {
                    let text = format!("another `signet` has been refreshing the token for {PATIENCE:?}; try again");
                    return Err(LoginError::Keeping(text));
                }
                Err(error) => return Err(because(LoginError::Keeping, "the lock can't be taken")(error)),
            }
        }
    }

    /// Who can change the folder could put a sign-in of their own there, or take the lock's file away.
    fn check_folder(&self) -> Result<()> {
        let folder = self.0.display();
        let metadata = std::fs::metadata(&self.0).map_err(unreadable(&self.0))?;
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        if is_own && metadata.mode() & 0o022 == 0 {
            return Ok(());
        }
        let text = format!("{folder} can be changed by others: it must be yours; run `chmod 700 {folder}`");
        Err(LoginError::Keeping(text))
    }

    fn lock_file(&self) -> Result<PathBuf> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(because(LoginError::Keeping, format!("{} can't be made", self.0.display())))?;
        self.check_folder()?;
        Ok(self.0.join("login.lock"))
    }
}

impl Held<'_> {
    pub(crate) async fn read(&self) -> Result<Option<Kept>> {
        self.place.read().await
    }

    /// Replaces what is kept, whole and durably.
    pub(crate) async fn write(&self, kept: &Kept) -> Result<()> {
        let path = self.place.file().display().to_string();
        let mut members: Map<String, Value> =
            serde_json::to_value(kept).and_then(serde_json::from_value).map_err(unwritable)?;
        if kept.in_keyring {
            let secrets: Map<_, _> = SECRETS.iter().filter_map(|name| members.remove_entry(*name)).collect();
            let secrets = zeroize::Zeroizing::new(serde_json::to_vec(&secrets).map_err(unwritable)?);
            let label = format!("{} at {} (Signet)", kept.user, kept.issuer);
            entry(&path, &label).put(&secrets).await?;
            return self.write_file(&members);
        }
        let was_in_keyring = self.place.read_file().is_ok_and(|file| file.is_some_and(|file| is_in_keyring(&file)));
        self.write_file(&members)?;
        if was_in_keyring {
            // What stays there, where this fails, was replaced: the caller revokes it.
            let _ = entry(&path, "the earlier sign-in").delete().await;
        }
        Ok(())
    }

    fn write_file(&self, members: &Map<String, Value>) -> Result<()> {
        let text = zeroize::Zeroizing::new(serde_json::to_vec_pretty(members).map_err(unwritable)?);
        let path = self.place.file();
        let written = signet_state_file::replace(&path, &text);
        written.map_err(because(LoginError::Keeping, format!("the tokens can't be kept in {}", path.display())))
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        if self.place.read_file()?.is_some_and(|file| is_in_keyring(&file)) {
            entry(&self.place.file().display().to_string(), "the sign-in").delete().await?;
        }
        let deleted = std::fs::remove_file(self.place.file());
        deleted.map_err(because(LoginError::Keeping, "the kept tokens can't be deleted"))
    }
}

fn unwritable(error: serde_json::Error) -> LoginError {
    because(LoginError::Keeping, "the tokens can't be written as JSON")(error)
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> LoginError {
    because(LoginError::Keeping, format!("{} can't be read", path.display()))
}

fn is_in_keyring(members: &Map<String, Value>) -> bool {
    members.get("in_keyring") == Some(&Value::Bool(true))
}

fn entry<'e>(file: &'e str, label: &'e str) -> Entry<'e> {
    Entry { label, file }
}

/// Reads a secret from a file that only its owner can read, without its last line end.
pub(crate) fn read_secret_file(path: &Path) -> Result<SecretText> {
    let file = File::open(path).map_err(unreadable(path))?;
    let bytes = read_owners_file(file, path)?;
    let no_text = format!("{} is not UTF-8", path.display());
    let text = std::str::from_utf8(&bytes).map_err(|_| LoginError::Keeping(no_text))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(SecretText::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

fn read_owners_file(file: File, path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    let metadata = file.metadata().map_err(unreadable(path))?;
    if !signet_state_file::is_private(&metadata) {
        let (path, mode) = (path.display(), metadata.mode() & 0o777);
        let text = format!("{path} can be read by others (mode {mode:03o}): run `chmod 600 {path}`");
        return Err(LoginError::Keeping(text));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut bytes).map_err(unreadable(path))?;
    Ok(bytes)
}

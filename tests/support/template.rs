//! What `signet init` makes, made once for a run of the tests and copied for each deployment: its keys are new, and
//! nobody has used them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::application::store_lines;
use super::hsm::{PROGRAM, SoftToken, provision};
use super::postgres::{self, Database};
use super::process::{feed, runs};

/// Where templates lie, each in a folder that is named by the process that made it.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// What a copy does without: a configuration of its own it has, and which file its PIN was read from it says itself.
const LEFT_OUT: [&str; 2] = ["signet.toml", "pin.accepted"];

static TEMPLATE: LazyLock<PathBuf> = LazyLock::new(make);
static DATABASE: LazyLock<Database> = LazyLock::new(Database::new);

/// The database that a copy's keys are known in, where it is not a file of the copy.
pub(super) fn copy_database() -> Database {
    LazyLock::force(&TEMPLATE);
    Database::copy_of(&DATABASE)
}

/// A soft token with a deployment's keys, and beside it the database that knows them.
pub(super) fn copy() -> SoftToken {
    let folder = tempfile::TempDir::new().unwrap();
    copy_files(&TEMPLATE, folder.path());
    // SoftHSM's file names the folder in which its tokens are.
    let configuration = folder.path().join("softhsm2.conf");
    let text = fs::read_to_string(&configuration).unwrap();
    let moved = text.replace(TEMPLATE.to_str().unwrap(), folder.path().canonicalize().unwrap().to_str().unwrap());
    assert_ne!(text, moved);
    fs::write(&configuration, moved).unwrap();
    SoftToken::provisioned(folder)
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            fs::create_dir(to.join(&name)).unwrap();
            copy_files(&path, &to.join(&name));
        } else if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
            fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

fn make() -> PathBuf {
    remove_those_of_processes_that_ended();
    let folder = Path::new(FOLDER).join(format!("deployment-{}", std::process::id()));
    let module = provision(&folder, "signet");
    let folder = folder.canonicalize().unwrap();
    let configuration = folder.join("signet.toml");
    let store = store_lines(postgres::is_wanted().then(|| &*DATABASE));
    let text = format!(
        "[server]\npublic_url = \"http://localhost:8080\"\n[store]\n{store}\n[[hsm]]\n\
         name = \"primary\"\nmodule = \"{}\"\ntoken_label = \"signet\"\npin_file = \"pin\"\ndeadline = \"12s\"\n\
         environment = {{ SOFTHSM2_CONF = \"{}\" }}\n",
        module.display(),
        folder.join("softhsm2.conf").display()
    );
    fs::write(&configuration, text).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(&configuration).arg("init").current_dir(&folder);
    feed(command, "").ok();
    folder
}

/// A value that lasts as long as the process is never dropped, and leaves its folder behind.
fn remove_those_of_processes_that_ended() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.strip_prefix("deployment-")?.parse().ok());
        if process.is_some_and(|process| !runs(process)) {
            // Another process may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

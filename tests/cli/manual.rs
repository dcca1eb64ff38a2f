//! What shells and `man` know of the commands.

use std::fs;
use std::process::Command;

use crate::support::hsm::PROGRAM;

fn run(arguments: &[&str]) -> String {
    let ran = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn a_shell_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("signet.bash");
    fs::write(&script, run(&["completions", "bash"])).unwrap();
    let complete = format!(
        "source {}; COMP_WORDS=(signet client re); COMP_CWORD=2; _signet signet re client; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let ran = Command::new("bash").args(["-c", &complete]).output().unwrap();
    assert_eq!(String::from_utf8(ran.stdout).unwrap().trim(), "renew-secret remove");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(run(&["completions", shell]).contains("renew-secret"), "{shell}");
    }
}

#[test]
fn every_command_has_a_page_in_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    run(&["man", folder.path().to_str().unwrap()]);
    let pages: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    for page in ["signet.1", "signet-serve.1", "signet-user.1", "signet-user-add.1", "signet-factor-add-totp.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} is not among {pages:?}");
    }
    assert!(pages.len() > 60 && !pages.iter().any(|name| name.contains("hsm-worker")), "{pages:?}");
    let page = fs::read_to_string(folder.path().join("signet-client-set.1")).unwrap();
    assert!(page.contains("Change what a client may ask for") && page.contains("scope"), "{page}");
}

//! `signet login --piv` end to end: the real `yubikey` crate, pcscd, a virtual card and a real server.

use super::login::Terminal;
use crate::support::application::{Application, PASSWORD};
use crate::support::piv::{PivKey, SERIAL_NUMBER};
use crate::support::piv_card::CardReader;
use crate::support::process::wait_for;

#[tokio::test]
async fn a_card_behind_pcscd_signs_in_and_a_wrong_pin_is_shown_once() {
    let key = PivKey::new();
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), &key.root).unwrap();
    let trust = format!("[mfa.piv]\nattestation_roots = [\"{}\"]", root.path().display());
    let terminal = Terminal::at(Application::new(&trust));
    let ann = terminal.server.add_user("ann", "reader");
    let (attestation, f9) = (terminal.home.path().join("att.pem"), terminal.home.path().join("f9.pem"));
    std::fs::write(&attestation, &key.attestation).unwrap();
    std::fs::write(&f9, &key.intermediate).unwrap();
    let files = ["--attestation", attestation.to_str().unwrap(), "--intermediate", f9.to_str().unwrap()];
    terminal.server.json(&[&["factor", "add", "piv", "--user", "ann"][..], &files].concat());
    let totp = terminal.server.add_totp(&ann, &[]);

    let card = CardReader::start(terminal.home.path(), key);
    // pcscd looks for cards now and then.
    let wrong = wait_for("the card in its reader", || {
        let ran = terminal.login(&ann, &["--piv"], &format!("{PASSWORD}\n111111\n"));
        (!ran.stderr.contains("no YubiKey is found")).then_some(ran)
    });
    wrong.fails(1, &["the PIN is wrong; 2 tries are left"]);
    assert_eq!((card.tries(), card.pins_shown()), (2, 1), "a wrong PIN is shown once");
    let signed = terminal.login(&ann, &["--piv", "--json"], &format!("{PASSWORD}\n654321\n"));
    assert!(signed.stderr.contains(&format!("YubiKey {SERIAL_NUMBER}: 2 PIN tries left")), "{signed:?}");
    assert_eq!(signed.json()["user"], "ann");
    assert!(![&signed.stdout, &signed.stderr].iter().any(|text| text.contains("654321")), "{signed:?}");
    let token = terminal.run(&["login", "--print-token"], "");
    let known = terminal.server.introspect(&terminal.app, token.stdout.trim_end()).await.ok().json();
    assert_eq!((&known["active"], &known["acr"]), (&true.into(), &"urn:signet:aal3".into()), "{known}");

    // A sign-in by a code is stepped up by the card, as a resource server's challenge asks for (RFC 9470).
    assert_eq!(terminal.login(&ann, &[], &format!("{PASSWORD}\n{}\n", totp.code())).code, Some(0));
    let challenge = "Bearer realm=\"api\", error=\"insufficient_user_authentication\", acr_values=\"urn:signet:aal3\"";
    let step_up = ["login", "--challenge", challenge, "--piv", "--credentials-stdin", "--json"];
    let stepped_up = terminal.run(&step_up, &format!("{PASSWORD}\n654321\n"));
    assert_eq!(stepped_up.json()["acr"], "urn:signet:aal3", "{stepped_up:?}");
    assert_eq!(terminal.run(&["login", "--challenge", challenge, "--json"], "").json()["acr"], "urn:signet:aal3");
    drop(card);
    let none = terminal.login(&ann, &["--piv"], &format!("{PASSWORD}\n654321\n"));
    none.fails(1, &["pcscd"]);
}

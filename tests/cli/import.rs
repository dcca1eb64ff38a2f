//! `signet factor import`, the stock, and assignment: files as vendors write them, codes from oathtool.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::application::{Application, TestUser};
use crate::support::codes::YubiKey;
use crate::support::fault::FaultModule;
use crate::support::oathtool::{ClockToken, counter_code};
use crate::support::server::Server;

const SEED: &[u8] = b"12345678901234567890";
pub(super) const SEED_BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const SEED_HEX: &str = "3132333435363738393031323334353637383930";

/// How a container's secrets are kept.
pub(super) enum Seal<'k> {
    Plain,
    Aes(&'k [u8]),
}

/// A container of so many HOTP keys, written as RFC 6030 says and by no code of Signet's.
pub(super) fn container(seal: &Seal<'_>, keys: usize) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<pskc:KeyContainer Version=\"1.0\" \
         xmlns:pskc=\"urn:ietf:params:xml:ns:keyprov:pskc\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" \
         xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\">\n",
    );
    let mac_key = [7; 20];
    if let Seal::Aes(key) = seal {
        let mac_value = encrypted(key, &mac_key).1;
        write!(
            text,
            "<pskc:EncryptionKey><ds:KeyName>agreed</ds:KeyName></pskc:EncryptionKey>\n<pskc:MACMethod \
             Algorithm=\"http://www.w3.org/2000/09/xmldsig#hmac-sha1\"><pskc:MACKey>{mac_value}</pskc:MACKey>\
             </pskc:MACMethod>\n"
        )
        .unwrap();
    }
    for number in 0..keys {
        let secret = match seal {
            Seal::Plain => format!("<pskc:PlainValue>{}</pskc:PlainValue>", STANDARD.encode(SEED)),
            Seal::Aes(key) => {
                let (raw, value) = encrypted(key, SEED);
                let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &mac_key), &raw);
                let mac = STANDARD.encode(mac);
                format!("<pskc:EncryptedValue>{value}</pskc:EncryptedValue><pskc:ValueMAC>{mac}</pskc:ValueMAC>")
            }
        };
        writeln!(
            text,
            "<pskc:KeyPackage><pskc:DeviceInfo><pskc:Manufacturer>Maker</pskc:Manufacturer>\
             <pskc:SerialNo>T{number:06}</pskc:SerialNo></pskc:DeviceInfo><pskc:Key Id=\"{number}\" \
             Algorithm=\"urn:ietf:params:xml:ns:keyprov:pskc:hotp\"><pskc:AlgorithmParameters><pskc:ResponseFormat \
             Encoding=\"DECIMAL\" Length=\"8\"/></pskc:AlgorithmParameters><pskc:Data><pskc:Secret>{secret}\
             </pskc:Secret><pskc:Counter><pskc:PlainValue>0</pskc:PlainValue></pskc:Counter></pskc:Data></pskc:Key>\
             </pskc:KeyPackage>"
        )
        .unwrap();
    }
    text + "</pskc:KeyContainer>\n"
}

/// IV and ciphertext, and the same as XML Encryption writes it.
fn encrypted(key: &[u8], plain: &[u8]) -> (Vec<u8>, String) {
    let (algorithm, name) = match key.len() {
        16 => (&AES_128, "aes128-cbc"),
        24 => (&AES_192, "aes192-cbc"),
        _ => (&AES_256, "aes256-cbc"),
    };
    let mut buffer = plain.to_vec();
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(algorithm, key).unwrap()).unwrap();
    let iv = EncryptionContext::Iv128(FixedLength::from([9_u8; 16]));
    cipher.less_safe_encrypt(&mut buffer, iv).unwrap();
    let raw = [vec![9; 16], buffer].concat();
    let value = STANDARD.encode(&raw);
    let xml = format!(
        "<xenc:EncryptionMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#{name}\"/><xenc:CipherData>\
         <xenc:CipherValue>{value}</xenc:CipherValue></xenc:CipherData>"
    );
    (raw, xml)
}

pub(super) fn write(app: &Application, name: &str, text: &str) -> String {
    let path: PathBuf = app.folder().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// pskctool takes the file for a container that follows the schema, and reads the keys that it can read.
fn pskctool_agrees(path: &str, reads_secret: bool) {
    let run = |arguments: &[&str]| {
        let output = Command::new("pskctool").args(arguments).output().expect("pskctool: `make test` installs it");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "pskctool {arguments:?}: {text}");
        text
    };
    run(&["--validate", path]);
    let info = run(&["--info", path]);
    assert!(info.contains("T000000") && (!reads_secret || info.contains(&STANDARD.encode(SEED))), "{info}");
}

#[tokio::test]
async fn pskc_plain_and_encrypted_by_every_aes_is_imported_assigned_and_signs_in() {
    let server = Application::new("").serve();
    let client = server.add_client("app", "password", "read");
    let keys: [(&str, Vec<u8>); 4] =
        [("plain", vec![]), ("aes128", vec![1; 16]), ("aes192", vec![2; 24]), ("aes256", vec![3; 32])];
    for (name, key) in &keys {
        let seal = if key.is_empty() { Seal::Plain } else { Seal::Aes(key) };
        let path = write(&server, "tokens.xml", &container(&seal, 3).replace("T000", &format!("{name}-T000")));
        let path = if *name == "plain" { write(&server, "tokens.xml", &container(&seal, 3)) } else { path };
        if *name == "plain" {
            pskctool_agrees(&path, true);
        }
        let hex: String = key.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let arguments: &[&str] =
            if key.is_empty() { &["factor", "import", &path] } else { &["factor", "import", &path, "--key-stdin"] };
        let report = server.json_with(arguments, &hex);
        assert_eq!((&report["imported"], &report["skipped"]), (&3.into(), &0.into()), "{name}");
        let again = server.json_with(arguments, &hex);
        assert_eq!((&again["imported"], &again["skipped"]), (&0.into(), &3.into()), "a second run skips what is there");
        let serial = if *name == "plain" { "T000001".to_owned() } else { format!("{name}-T000001") };
        let user = server.add_user(name, "reader");
        let assigned = server.json(&["factor", "assign", "--serial", &serial, "--user", name]);
        assert_eq!((&assigned["serial"], &assigned["label"]), (&serial.as_str().into(), &"Maker".into()));
        server.sign_in(&client, &user, &counter_code(SEED_BASE32, 8, 0)).await.ok();
        let taken = server.run(&["factor", "assign", "--serial", &serial, "--user", name]);
        assert_eq!(taken.code, Some(1));
    }
    assert_eq!(server.json(&["factor", "stock"]).as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn promise_2_a_file_with_a_wrong_mac_or_a_faulty_line_imports_nothing_and_no_seed_is_kept() {
    let app = Application::new("");
    let key = [4; 16];
    let good = container(&Seal::Aes(&key), 3);
    let place = good.rfind("<pskc:ValueMAC>").unwrap() + "<pskc:ValueMAC>".len();
    let changed =
        format!("{}{}{}", &good[..place], if &good[place..=place] == "A" { "B" } else { "A" }, &good[place + 1..]);
    let path = write(&app, "tokens.xml", &changed);
    let hex = "04".repeat(16);
    let import = ["factor", "import", &path, "--key-stdin", "--json"];
    let refused = app.run_with(&import, &hex);
    assert_eq!(refused.code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(
        (&report["imported"], &report["refused"], &report["faults"][0]["serial"]),
        (&0.into(), &1.into(), &"T000002".into())
    );
    assert!(refused.stderr.contains("MAC is wrong"));
    assert_eq!(app.rows("stock").await, 0, "nothing is half-imported");
    let told = app.folder().join("report.csv");
    let some = app.run_with(&[&import[..], &["--skip-faulty", "--report", told.to_str().unwrap()]].concat(), &hex);
    assert_eq!(some.code, Some(1), "the caller hears that some were refused");
    assert_eq!(app.rows("stock").await, 2);
    let lines: Vec<String> = std::fs::read_to_string(told).unwrap().lines().map(str::to_owned).collect();
    assert!(lines[1].ends_with(",T000000,imported,") && lines[3].contains(",T000002,refused,"), "{lines:?}");
    let database = std::fs::read(app.database()).unwrap();
    assert!(!database.windows(SEED.len()).any(|window| window == SEED));
    assert!(!database.windows(SEED_HEX.len()).any(|window| window == SEED_HEX.as_bytes()));
    let wrong_key = app.run_with(&import, &"05".repeat(16));
    assert_eq!(wrong_key.code, Some(1));
    assert_eq!(app.run(&["factor", "import", &path]).code, Some(1), "it says that a key is needed");
}

/// Nothing of a line that was not understood is on the terminal, in the JSON, in the report or in the audit log, and the report is its
/// owner's alone.
#[tokio::test]
async fn hazard_111_a_file_that_is_another_one_gives_no_secret_away() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = Application::new("");
    let aes = "a47c5bf9c152202f577be6721c0113af";
    let told = app.folder().join("report.csv");
    std::fs::write(&told, "an older one").unwrap();
    std::fs::set_permissions(&told, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut all = String::new();
    for (format, text) in [
        ("oath-csv", format!("A1;{SEED_HEX};totp;6;30\n")),
        ("yubico-csv", format!("4711;vvvvvvvvvvcb;010203040506;{aes};;2024;\n")),
        ("oath-csv", format!("{SEED_HEX},A1,hotp,6,0\n")),
    ] {
        let path = write(&app, "tokens.csv", &text);
        for more in [&["--skip-faulty", "--report", told.to_str().unwrap()][..], &["--json"]] {
            let refused = app.run(&[&["factor", "import", &path, "--format", format][..], more].concat());
            assert_eq!(refused.code, Some(1));
            all += &format!("{}{}", refused.stdout, refused.stderr);
        }
        all += &std::fs::read_to_string(&told).unwrap();
    }
    assert!(all.contains("line 1: one value; values are parted by commas"), "{all}");
    assert_eq!(std::fs::metadata(&told).unwrap().permissions().mode() & 0o777, 0o600);
    let keys = write(&app, "keys.csv", &format!("4711;vvvvvvvvvvcb;010203040506;{aes};;2024;\n"));
    let clients = write(&app, "clients.csv", "87;1;1383728711;Eibja2kRFXXoW6hjZaiyBtWnCBA=\n");
    let users = write(&app, "users.csv", "name,password\n\"ann,of her own\nbob\",of his own\n");
    for command in [["otp-key", "import", &keys], ["otp-client", "import", &clients], ["user", "import", &users]] {
        let refused = app.run(&command);
        assert_eq!(refused.code, Some(1), "{command:?}");
        all += &format!("{}{}", refused.stdout, refused.stderr);
    }
    all += &serde_json::to_string(&app.audit().await).unwrap();
    for secret in [SEED_HEX, aes, "Eibja2kRFXXoW6hjZaiyBtWnCBA=", "of her own", "of his own"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

/// What Windows writes is the same text.
#[tokio::test]
async fn hazard_114_files_with_a_byte_order_mark_and_in_utf_16_are_read_by_every_command() {
    let app = Application::new("");
    let utf16 = |text: &str| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let marked = |text: &str| format!("\u{feff}{text}").into_bytes();
    let key = YubiKey::new("vvvvvvvvvvcb");
    let keys = format!("4713,vvvvvvvvvvcb,{},{}\r\n", key.private_id_hex(), key.secret_hex());
    for (name, bytes, command) in [
        ("keys.csv", marked(&keys), &["otp-key", "import"][..]),
        (
            "counters.csv",
            utf16("1,1383728711,1383728732,vvvvvvvvvvcb,5,3,1,2,abcdef,\n"),
            &["otp-key", "import-counters"],
        ),
        ("clients.csv", utf16("87,1,1383728711,Eibja2kRFXXoW6hjZaiyBtWnCBA=,a@b,,\n"), &["otp-client", "import"]),
        ("tokens.xml", utf16(&container(&Seal::Plain, 1).replace("UTF-8", "UTF-16")), &["factor", "import"]),
        ("users.csv", utf16("name,password,roles\r\njosé,of her very own,reader\r\n"), &["user", "import"]),
        ("settings.toml", marked("[tokens]\naccess_lifetime = \"10m\"\n"), &["apply", "--yes", "-f"]),
    ] {
        let path = app.folder().join(name);
        std::fs::write(&path, bytes).unwrap();
        app.run(&[command, &[path.to_str().unwrap()]].concat()).ok();
    }
    assert_eq!(app.json(&["otp-key", "list"])[0]["serial"], "4713");
    assert_eq!(app.json(&["user", "show", "jose\u{301}"])["name"], "josé");
    assert_eq!(app.json(&["factor", "stock"])[0]["serial"], "T000000");
    let configuration = app.folder().join("signet.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, marked(&text)).unwrap();
    assert_eq!(app.json(&["user", "list"]).as_array().map(Vec::len), Some(1));
}

/// A file may be one long line: what is wrong with one of its tokens is no other token's fault.
#[tokio::test]
async fn the_good_tokens_of_a_file_without_line_ends_are_imported() {
    let app = Application::new("");
    let text = container(&Seal::Plain, 3).replacen(&STANDARD.encode(SEED), "AAAA", 1).replace('\n', "");
    let path = write(&app, "tokens.xml", &text);
    let some = app.run(&["factor", "import", &path, "--skip-faulty", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&some.stdout).unwrap();
    assert_eq!((&report["imported"], &report["refused"]), (&2.into(), &1.into()));
    assert_eq!(app.rows("stock").await, 2);
}

/// A shell gives what decrypts a file as a pipe.
#[tokio::test]
async fn a_file_may_come_through_a_pipe() {
    let app = Application::new("");
    let report = app.json_with(&["factor", "import", "/dev/stdin"], &container(&Seal::Plain, 200));
    assert_eq!(report["imported"], 200);
}

#[tokio::test]
async fn nothing_is_imported_where_the_report_can_not_be_written() {
    let app = Application::new("");
    let path = write(&app, "tokens.xml", &container(&Seal::Plain, 1));
    let report = app.folder().join("no-such-folder/report.csv");
    let refused = app.run(&["factor", "import", &path, "--report", report.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("report.csv"));
    assert_eq!(app.rows("stock").await, 0);
}

/// A user takes a token out of the stock by its serial number and a code that it shows; the code is spent by it.
#[tokio::test]
async fn a_user_assigns_a_token_by_a_code_that_it_shows() {
    let server = Application::new("[mfa]\ntries = 4\npause = \"24m\"").serve();
    let client = server.add_client("app", "password", "read");
    let key = YubiKey::new("cccccccccccb");
    let yubico = format!("77,cccccccccccb,{},{},,2026-01-01T00:00:00,\n", key.private_id_hex(), key.secret_hex());
    let oath = format!("C1,{SEED_HEX},totp,6,60\nB1,{SEED_HEX},hotp,6,0\n");
    for (name, text) in [("yubico.csv", &yubico), ("oath.csv", &oath)] {
        let path = write(&server, name, text);
        server.json(&["factor", "import", &path]);
    }
    let user = server.add_user("ann", "reader");
    let assign = |server: &Server, serial: &str, code: &str| {
        server.run_with(&["factor", "assign", "--serial", serial, "--user", "ann", "--code-stdin"], code).code
    };
    let clock = ClockToken { secret_base32: SEED_BASE32.to_owned(), hash: "SHA1", digits: 6, step: 60 };
    let press = key.press();
    assert_eq!(assign(&server, "77", &press), Some(0));
    refused(&server, &client, &user, &press).await;
    server.sign_in(&client, &user, &key.press()).await.ok();
    let code = clock.at(0);
    assert_eq!(assign(&server, "C1", &code), Some(0));
    refused(&server, &client, &user, &code).await;
    server.sign_in(&client, &user, &clock.at(1)).await.ok();
    assert_eq!(assign(&server, "B1", &counter_code(SEED_BASE32, 6, 30)), Some(1));
    assert_eq!(assign(&server, "B1", &counter_code(SEED_BASE32, 6, 3)), Some(0));
    for _ in 0..4 {
        assert_eq!(assign(&server, "nothing", "123456"), Some(1));
    }
    let exhausted = server.run_with(&["factor", "assign", "--serial", "x", "--user", "ann", "--code-stdin"], "123456");
    assert!(exhausted.stderr.contains("too many tries"));
}

/// A serial number that is in the stock costs the HSM what one costs that is not.
#[tokio::test]
async fn promise_5_a_wrong_code_tells_not_which_serial_numbers_are_in_the_stock() {
    let module = FaultModule::standing("log calls");
    let app = Application::with_faults(&module, "sessions = 1\ndeadline = \"12s\"", "");
    let key = YubiKey::new("cccccccccccb");
    let yubico = format!("77,cccccccccccb,{},{},,2026-01-01T00:00:00,\n", key.private_id_hex(), key.secret_hex());
    for (name, text) in [("yubico.csv", &yubico), ("oath.csv", &format!("C1,{SEED_HEX},totp,6,30\n"))] {
        app.json(&["factor", "import", &write(&app, name, text)]);
    }
    app.add_user("ann", "reader");
    let work = |serial: &str, code: &str| {
        module.order("");
        let assign = ["factor", "assign", "--serial", serial, "--user", "ann", "--code-stdin"];
        assert_eq!(app.run_with(&assign, code).code, Some(1), "{serial}");
        let mut calls = module.calls();
        calls.retain(|call| matches!(call.as_str(), "C_UnwrapKey" | "C_Sign" | "C_Decrypt" | "C_Encrypt"));
        calls.sort();
        calls
    };
    let forged = format!("cccccccccccb{}", "c".repeat(32));
    for (code, known) in [("000000", "C1"), ("00000000", "C1"), (&*forged, "77")] {
        assert_eq!(work(known, code), work("nothing", code), "{code}");
    }
    assert_eq!(work("77", "000000"), work("C1", "000000"), "a code of another kind");
}

async fn refused(server: &Server, client: &crate::support::application::TestClient, user: &TestUser, code: &str) {
    assert_eq!(server.sign_in(client, user, code).await.status, 400, "the code was spent by the assignment");
}

/// A killed import leaves whole batches; run again it ends, and skips what is there.
#[tokio::test]
async fn an_import_that_was_killed_is_run_again() {
    const KEYS: usize = 3000;
    let app = Application::new("");
    let path = write(&app, "tokens.xml", &container(&Seal::Plain, KEYS));
    let mut child = app.command(&["factor", "import", &path]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while app.rows("stock").await == 0 {
        assert!(std::time::Instant::now() < deadline, "no batch is kept");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = app.rows("stock").await;
    assert_eq!(kept % 200, 0, "whole batches");
    let report = app.json(&["factor", "import", &path]);
    assert_eq!(report["skipped"].as_i64().unwrap(), kept);
    assert_eq!(app.rows("stock").await, i64::try_from(KEYS).unwrap());
    assert_eq!(app.rows("seals WHERE kind = 'stock.secret'").await, i64::try_from(KEYS).unwrap());
}

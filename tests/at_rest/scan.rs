//! After real enrolments and sign-ins every file of the deployment, its logs at their most talkative included, is
//! searched for every secret that took part, in every form in which it might have been written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::support::application::{ALL_GRANTS, Application, TestClient};
use crate::support::caller::Caller;
use crate::support::codes::Totp;
use crate::support::server::Server;

pub(super) const PASSWORD: &str = "Planted-Passw0rd-of-Ann";
/// The AES key of Yubico's test vectors, and two OTPs that it made.
const AES_KEY: &str = "000102030405060708090a0b0c0d0e0f";
const PUBLIC_ID: &str = "ccccccccccbd";
const FIRST_OTP: &str = "dvgtiblfkbgturecfllberrvkinnctnn";
const SECOND_OTP: &str = "rnibcnfhdninbrdebccrndfhjgnhftee";

/// A secret with all forms that are searched for.
pub(super) struct Needle {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Needle {
    pub(super) fn text(name: &'static str, text: &str) -> Self {
        let bytes = text.as_bytes();
        Self { name, forms: [encodings(bytes), vec![bytes.to_vec()]].concat() }
    }

    fn bytes(name: &'static str, bytes: &[u8]) -> Self {
        Self { name, forms: [encodings(bytes), vec![bytes.to_vec()]].concat() }
    }

    /// A token: no part of it that is of use stands anywhere, its signature first of all.
    fn token(name: &'static str, token: &str) -> Self {
        let signature = token.rsplit('.').next().unwrap();
        let mut forms = encodings(&URL_SAFE_NO_PAD.decode(signature).unwrap());
        forms.push(token.as_bytes().to_vec());
        Self { name, forms }
    }

    pub(super) fn is_in(&self, hay: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(hay, form))
    }
}

fn encodings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = [STANDARD_NO_PAD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)];
    // As `Debug` prints a slice.
    let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    [hex.to_uppercase(), hex, list].into_iter().chain(base64).map(String::into_bytes).collect()
}

pub(super) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let (first, rest) = needle.split_first().unwrap();
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if hay[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

/// RFC 4648 §6.
pub(super) fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for character in text.trim_end_matches('=').bytes() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|one| *one == character).unwrap();
        (bits, held) = (bits << 5 | u32::try_from(value).unwrap(), held + 5);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}

/// A deployment with a person who has a TOTP and a YubiKey, and a client.
pub(super) struct Inhabited {
    pub(super) deployment: Arc<Application>,
    pub(super) app: TestClient,
    pub(super) totp: Totp,
}

impl Inhabited {
    pub(super) fn new() -> Self {
        let deployment = Application::new("[log]\nlevel = \"trace\"");
        let ann = deployment.add_user_with("ann", "reader", PASSWORD);
        let totp = deployment.add_totp(&ann, &[]);
        let arguments = ["factor", "add", "yubico-otp", "--user", "ann", "--public-id", PUBLIC_ID];
        let arguments = [&arguments[..], &["--private-id", "010203040506", "--secret-key-stdin"]].concat();
        let ran = deployment.run_with(&arguments, AES_KEY);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let app = deployment.add_client("app", ALL_GRANTS, "read write");
        Self { deployment, app, totp }
    }

    /// Secrets that are there before anybody signs in.
    pub(super) fn enrolled(&self) -> Vec<Needle> {
        vec![
            Needle::bytes("TOTP seed", &base32(&self.totp.secret_base32)),
            Needle::text("TOTP seed in base32", &self.totp.secret_base32),
            Needle::bytes("Yubico AES key", &(0..16).collect::<Vec<u8>>()),
            Needle::text("PIN", &self.deployment.hsm_token().pin()),
        ]
    }

    /// Signs in, refreshes, and does wrong whatever can be done wrong; gives the secrets that took part.
    pub(super) async fn use_everything(&self, server: &Server) -> Vec<Needle> {
        let caller = Caller::new(server, &self.app);
        let code = self.totp.code();
        let by_totp = caller.sign_in("ann", PASSWORD, &code).await.unwrap();
        let otps = [FIRST_OTP, SECOND_OTP].map(|block| format!("{PUBLIC_ID}{block}"));
        let by_key = caller.sign_in("ann", PASSWORD, &otps[0]).await.unwrap();
        assert_eq!((by_totp.status, by_key.status), (200, 200), "{by_totp:?} {by_key:?}");
        let refreshed = caller.refresh(&by_totp.text("refresh_token")).await.unwrap();
        let machine = caller.client_credentials().await.unwrap();
        for (user, password, otp) in [
            ("ann", "A-wrong-Passw0rd-typed", otps[1].as_str()),
            ("ann", PASSWORD, "000000"),
            ("Typed-into-the-Name-Field", "nobody", code.as_str()),
        ] {
            assert_eq!(caller.sign_in(user, password, otp).await.unwrap().status, 400);
        }
        let wrong = TestClient { secret: "Wrong-Client-Secret-1".to_owned(), ..self.app.clone() };
        assert_eq!(Caller::new(server, &wrong).client_credentials().await.unwrap().status, 401);
        let access = machine.text("access_token");
        assert_eq!(caller.introspect(&access).await.unwrap().status, 200);
        assert_eq!(caller.revoke(&access).await.unwrap().status, 200);
        assert_eq!(caller.refresh(&by_totp.text("refresh_token")).await.unwrap().status, 200, "the retry");
        vec![
            Needle::text("password", PASSWORD),
            Needle::text("wrong password", "A-wrong-Passw0rd-typed"),
            Needle::text("name that nobody has", "Typed-into-the-Name-Field"),
            Needle { name: "Yubico OTP", forms: vec![FIRST_OTP.into(), SECOND_OTP.into()] },
            Needle { name: "password hash", forms: vec![b"$argon2".to_vec()] },
            Needle::text("client secret", &self.app.secret),
            Needle::text("wrong client secret", "Wrong-Client-Secret-1"),
            Needle::text("refresh token", &by_totp.text("refresh_token")),
            Needle::text("refresh token's successor", &refreshed.text("refresh_token")),
            Needle::text("YubiKey's refresh token", &by_key.text("refresh_token")),
            Needle::token("access token", &by_totp.text("access_token")),
            Needle::token("refreshed access token", &refreshed.text("access_token")),
            Needle::token("client's access token", &access),
        ]
    }
}

/// Every file of the deployment but the soft token's own and the PIN's.
fn files(deployment: &Application) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(deployment.folder(), &mut found);
    let others = [deployment.file("tokens"), deployment.hsm_token().pin_file()];
    found.retain(|path| !others.iter().any(|other| path.starts_with(other)));
    // The admin socket holds nothing.
    found.retain(|path| path.is_file());
    found.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn assert_nothing_is_found(deployment: &Application, needles: &[Needle]) -> Vec<String> {
    let files = files(deployment);
    for (path, bytes) in &files {
        for needle in needles {
            assert!(!needle.is_in(bytes), "{} stands in {}", needle.name, path.display());
        }
    }
    files.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_2_and_hazard_90_no_file_holds_a_secret() {
    let inhabited = Inhabited::new();
    let deployment = &inhabited.deployment;
    let server = deployment.serve();
    let mut needles = inhabited.enrolled();
    needles.extend(inhabited.use_everything(&server).await);
    // While the server runs, the last commits stand in the write-ahead log.
    let searched = assert_nothing_is_found(deployment, &needles);
    for name in ["signet.db", "signet.db-wal", "server.log", "audit.anchor", "audit.jwk", "signet.toml"] {
        assert!(searched.contains(&name.to_owned()), "{name} is not among {searched:?}");
    }
    server.stop();
    let export = deployment.run(&["audit", "export", "--output", "export.jsonl"]);
    assert_eq!(export.code, Some(0), "{export:?}");
    let backup = deployment.run(&["backup", "all.backup"]);
    assert_eq!(backup.code, Some(0), "{backup:?}");
    assert_nothing_is_found(deployment, &needles);
    // Somebody who looks finds what is there to find.
    let found = |name: &str, text: &str| contains(&fs::read(deployment.file(name)).unwrap(), text.as_bytes());
    assert!(found("signet.db", &inhabited.app.id) && found("export.jsonl", "yubico"));
    assert!(found("all.backup", &inhabited.app.id) && found("all.backup", "yubico"));
    let log = fs::read_to_string(deployment.file("server.log")).unwrap();
    assert!(log.contains("DEBUG sqlx"), "the log was at its most talkative: {log}");
}

/// The search itself finds what it looks for, in each form.
#[test]
fn planted_secrets_are_found() {
    let seed = base32("GEZDGNBVGY3TQOJQ");
    assert_eq!(seed, b"1234567890");
    let needle = Needle::bytes("seed", &seed);
    for hay in ["..1234567890", "31323334353637383930", "[49, 50, 51, 52, 53, 54, 55, 56, 57, 48]", "MTIzNDU2Nzg5MA=="]
    {
        assert!(needle.is_in(hay.as_bytes()), "{hay}");
    }
    assert!(!needle.is_in(b"123456789"));
    let token = Needle::token("token", "e30.e30.AAECAw");
    assert!(token.is_in(b"00010203") && token.is_in(b"AAECAw") && !token.is_in(b"e30.e30."));
}

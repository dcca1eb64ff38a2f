use serde_json::json;

use super::*;
use crate::wire::Octets;
use signet_core::keys::{KeyPurpose, test_signing_input};
use signet_jose::{Header, KeyId, signing_input};

const NOW: i64 = 1_800_000_000;
const KID: &str = "7aUEWjNKkNXGuqcKPJzLBPnC1g8ywt0sQQeiFF4VxrQ";
const ISSUER: &str = "https://issuer.example";

fn key(purpose: KeyPurpose) -> KeyRef {
    KeyRef { cka_id: Octets(vec![1]), key_id: KID.into(), purpose }
}

fn judge(purpose: KeyPurpose, input: &[u8]) -> Result<SignedKind, Refusal> {
    let policy = SigningPolicy {
        issuers: vec!["https://other.example".into(), ISSUER.into()],
        longest_token: Duration::from_secs(300),
        most_per_second: 0,
    };
    Judge { policy: &policy, now: Timestamp::from_unix_seconds(NOW) }.judge(&key(purpose), Algorithm::Es256, input)
}

fn header() -> Value {
    json!({ "alg": "ES256", "typ": "at+jwt", "kid": KID })
}

fn input(header: &str, payload: &str) -> Vec<u8> {
    [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".").into_bytes()
}

fn person() -> Value {
    json!({
        "iss": ISSUER, "sub": "user", "aud": "https://api.example", "client_id": "client", "jti": "id",
        "iat": NOW, "nbf": NOW, "exp": NOW + 300, "scope": "read", "roles": ["reader"],
        "auth_time": NOW - 5000, "acr": "urn:signet:aal2", "amr": ["pwd", "otp", "mfa"],
    })
}

fn software() -> Value {
    json!({
        "iss": ISSUER, "sub": "client", "aud": ["a", "b"], "client_id": "client", "jti": "id",
        "iat": NOW, "exp": NOW + 60,
    })
}

fn token(claims: &Value) -> Result<SignedKind, Refusal> {
    judge(KeyPurpose::TokenSigning, &input(&header().to_string(), &claims.to_string()))
}

/// The claims with one changed; null takes it away.
fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[test]
fn honest_tokens_pass() {
    assert_eq!(token(&person()), Ok(SignedKind::Token));
    assert_eq!(token(&software()), Ok(SignedKind::Token));
    assert_eq!(token(&with(person(), "amr", json!(["hwk"]))), Ok(SignedKind::Token));
    assert_eq!(token(&with(person(), "iat", json!(NOW - 60))), Err(Refusal::Lifetime(360)));
    assert_eq!(token(&with(software(), "iss", json!("https://other.example"))), Ok(SignedKind::Token));
}

#[test]
fn a_token_of_ten_years_is_refused_however_it_is_written() {
    const TEN_YEARS: i64 = 315_360_000;
    assert_eq!(token(&with(person(), "exp", json!(NOW + TEN_YEARS))), Err(Refusal::Lifetime(TEN_YEARS)));
    assert_eq!(token(&with(person(), "exp", json!(NOW + 301))), Err(Refusal::Lifetime(301)));
    // Issued later, to be used later.
    let later = with(with(person(), "iat", json!(NOW + TEN_YEARS)), "exp", json!(NOW + TEN_YEARS + 300));
    assert_eq!(token(&later), Err(Refusal::Time("iat")));
    assert_eq!(token(&with(person(), "nbf", json!(NOW + 91))), Err(Refusal::Time("nbf")));
    assert_eq!(token(&with(person(), "iat", json!(NOW + 300))), Err(Refusal::Lifetime(0)));
    for exp in [json!(null), json!("1800000300"), json!(1.8e9), json!(-1), json!(u64::MAX), json!(i64::MAX)] {
        assert_eq!(token(&with(person(), "exp", exp.clone())), Err(Refusal::Claim("exp")), "{exp}");
    }
    let twice = person().to_string().replacen('{', &format!("{{\"exp\":{},", NOW + TEN_YEARS), 1);
    assert_eq!(judge(KeyPurpose::TokenSigning, &input(&header().to_string(), &twice)), Err(Refusal::Payload("token")));
}

#[test]
fn a_persons_token_claims_a_factor() {
    for amr in [json!(null), json!([]), json!(["pwd"]), json!(["pwd", "mfa"]), json!("otp"), json!(["otp", 1])] {
        assert_eq!(token(&with(person(), "amr", amr.clone())), Err(Refusal::Factor), "{amr}");
    }
    assert_eq!(token(&with(person(), "auth_time", json!(null))), Err(Refusal::Claim("auth_time")));
    assert_eq!(token(&with(person(), "auth_time", json!(NOW + 3600))), Err(Refusal::Time("auth_time")));
}

/// Dropping what is a person's makes no software of one: software names itself in `sub`, and has no roles.
#[test]
fn a_person_does_not_pass_as_software() {
    let mut bare = person();
    for name in PERSONAL {
        bare = with(bare, name, Value::Null);
    }
    assert_eq!(token(&bare), Err(Refusal::Claim("auth_time")));
    for name in PERSONAL {
        assert_eq!(token(&with(software(), name, json!(["otp"]))), Err(Refusal::Personal(name)));
    }
    assert_eq!(token(&with(software(), "client_id", json!(null))), Err(Refusal::Claim("client_id")));
}

#[test]
fn what_must_be_said_is_said() {
    assert_eq!(token(&with(person(), "iss", json!("https://evil.example"))), Err(Refusal::Issuer));
    assert_eq!(token(&with(person(), "iss", json!(format!("{ISSUER}/")))), Err(Refusal::Issuer));
    for name in ["sub", "jti", "client_id", "iss"] {
        for value in [json!(null), json!(""), json!(7), json!("a".repeat(513))] {
            assert_eq!(token(&with(person(), name, value)), Err(Refusal::Claim(name)));
        }
    }
    for audience in [json!(null), json!(""), json!([]), json!(["a", ""]), json!({}), json!([1])] {
        assert_eq!(token(&with(person(), "aud", audience)), Err(Refusal::Claim("aud")));
    }
}

#[test]
fn foreign_bytes_are_refused() {
    let purpose = KeyPurpose::TokenSigning;
    let honest = input(&header().to_string(), &person().to_string());
    for bytes in
        [b"".as_slice(), b"signet readiness probe", b".", b"..", &[0xff; 40], &[honest.as_slice(), b".a"].concat()]
    {
        assert!(matches!(judge(purpose, bytes), Err(Refusal::NotJws | Refusal::Header)));
    }
    let padded = with(person(), "scope", json!("a".repeat(8000)));
    assert_eq!(token(&padded), Err(Refusal::NotJws));
    for payload in ["[]", "1", "\"a\"", "{} {}", ""] {
        let refused = judge(purpose, &input(&header().to_string(), payload));
        assert_eq!(refused, Err(Refusal::Payload("token")));
    }
}

#[test]
fn the_header_names_this_key_and_nothing_else() {
    let judged = |header: &str| judge(KeyPurpose::TokenSigning, &input(header, &person().to_string()));
    let changed = |name: &str, value: Value| judged(&with(header(), name, value).to_string());
    assert_eq!(changed("alg", json!("ES384")), Err(Refusal::OtherKey("alg")));
    assert_eq!(changed("alg", json!("none")), Err(Refusal::OtherKey("alg")));
    assert_eq!(changed("kid", json!("another")), Err(Refusal::OtherKey("kid")));
    for name in ["alg", "kid", "typ"] {
        assert_eq!(changed(name, Value::Null), Err(Refusal::Header));
    }
    for typ in ["JWT", "AT+JWT", "application/at+jwt", "logout+jwt", "id+jwt", "secevent+jwt"] {
        assert_eq!(changed("typ", json!(typ)), Err(Refusal::Type));
    }
    for name in ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "cty", "x"] {
        assert_eq!(changed(name, json!("a")), Err(Refusal::Header));
    }
    assert_eq!(judged(&header().to_string().replacen('{', r#"{"kid":"a","#, 1)), Err(Refusal::Header));
}

/// A checkpoint of node `one`.
fn checkpoint() -> Value {
    json!({ "v": 1, "node": "one", "seq": 3, "hash": "A".repeat(43), "at": "2027-01-15T08:00:00.000Z" })
}

#[test]
fn a_checkpoint_names_its_chain_and_the_ends_of_others_and_nothing_else() {
    let of_checkpoint = with(header(), "typ", json!(SignedKind::Checkpoint.token_type())).to_string();
    let judged = |payload: &Value| judge(KeyPurpose::AuditSigning, &input(&of_checkpoint, &payload.to_string()));
    let other = json!({ "node": "two", "seq": 9, "hash": "B".repeat(43) });
    assert_eq!(judged(&with(checkpoint(), "others", json!([other]))), Ok(SignedKind::Checkpoint));
    for (name, value) in [
        ("v", json!(2)),
        ("node", json!("")),
        ("seq", json!(-1)),
        ("hash", json!("A")),
        ("iss", json!(ISSUER)),
        ("others", json!("two")),
        ("others", json!([{ "node": "two", "seq": 9 }])),
        ("others", json!([with(other.clone(), "iss", json!(ISSUER))])),
    ] {
        assert_eq!(judged(&with(checkpoint(), name, value)), Err(Refusal::Payload("checkpoint")), "{name}");
    }
}

#[test]
fn each_key_signs_what_it_is_for() {
    let checkpoint = checkpoint();
    let report = json!({ "held": true });
    let backup = json!({
        "v": 1, "id": "a", "iss": ISSUER, "iat": NOW, "at": "2027-01-15T07:00:00.000Z", "tables": [["users", 1, "A"]],
        "rows": 1, "hash": "A", "heads": []
    });
    let admission = json!({
        "v": 1, "iss": ISSUER, "iat": NOW, "hsm": "b", "transport": "A", "generation": 2, "envelope": "A"
    });
    let of = |kind: SignedKind| with(header(), "typ", json!(kind.token_type())).to_string();
    let input_of = |kind, payload: &Value| input(&of(kind), &payload.to_string());
    for (purpose, allowed) in [
        (KeyPurpose::TokenSigning, vec![SignedKind::Token, SignedKind::Test]),
        (
            KeyPurpose::AuditSigning,
            vec![
                SignedKind::Checkpoint,
                SignedKind::Report,
                SignedKind::Backup,
                SignedKind::Admission,
                SignedKind::Test,
            ],
        ),
        (KeyPurpose::Binding, vec![]),
        (KeyPurpose::Transport, vec![]),
    ] {
        for (kind, payload) in [
            (SignedKind::Token, &person()),
            (SignedKind::Checkpoint, &checkpoint),
            (SignedKind::Report, &report),
            (SignedKind::Backup, &backup),
            (SignedKind::Admission, &admission),
        ] {
            let judged = judge(purpose, &input_of(kind, payload));
            let expected = if allowed.contains(&kind) {
                Ok(kind)
            } else {
                Err(Refusal::Purpose { kind: kind.name(), purpose: purpose.name() })
            };
            assert_eq!(judged, expected);
        }
        let test = test_signing_input(&KeyId::new(KID), Algorithm::Es256);
        assert_eq!(judge(purpose, test.as_bytes()).is_ok(), allowed.contains(&SignedKind::Test));
    }
    for (name, value) in [("v", json!(2)), ("tables", json!("A")), ("rows", json!(-1)), ("exp", json!(NOW))] {
        let judged = judge(KeyPurpose::AuditSigning, &input_of(SignedKind::Backup, &with(backup.clone(), name, value)));
        assert_eq!(judged, Err(Refusal::Payload("backup")), "{name}");
    }
    let judged = |name, value| {
        judge(KeyPurpose::AuditSigning, &input_of(SignedKind::Backup, &with(backup.clone(), name, value)))
    };
    assert_eq!(judged("iss", json!("https://attacker.example")), Err(Refusal::Issuer));
    assert_eq!(judged("iat", json!(NOW - 600)), Err(Refusal::Time("iat")));
    for (name, value) in [("v", json!(2)), ("generation", json!(256)), ("exp", json!(NOW))] {
        let input = input_of(SignedKind::Admission, &with(admission.clone(), name, value));
        assert_eq!(judge(KeyPurpose::AuditSigning, &input), Err(Refusal::Payload("admission")), "{name}");
    }
    let backdated = with(checkpoint, "at", json!("2027-01-14T08:00:00.000Z"));
    let judged = judge(KeyPurpose::AuditSigning, &input_of(SignedKind::Checkpoint, &backdated));
    assert_eq!(judged, Err(Refusal::Time("at")));
}

#[test]
fn a_test_says_nothing_else() {
    let header = Header {
        algorithm: Algorithm::Es256,
        key_id: Some(KeyId::new(KID)),
        token_type: Some(SignedKind::Test.token_type().to_owned()),
    };
    let dressed_up = signing_input(&header, person().to_string().as_bytes());
    assert_eq!(judge(KeyPurpose::TokenSigning, dressed_up.as_bytes()), Err(Refusal::Payload("test")));
}

/// What the issuer writes is what the worker reads.
#[test]
fn the_times_of_a_checkpoint_read_as_they_are_written() {
    let at = Timestamp::from_unix_seconds(NOW).to_string();
    assert_eq!(at.parse::<jiff::Timestamp>().unwrap().as_second(), NOW);
}

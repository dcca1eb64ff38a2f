//! What a worker refuses to sign, and how much of what it may sign it signs in a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signet_core::keys::{HsmFailure, HsmKey, KeyAdmin as _, KeyPurpose, Signer as _};
use signet_hsm::HsmGroup;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_jose::{Algorithm, Header, signing_input};

use crate::support::hsm::{ISSUER, SoftToken, announced, hsm, pair, probe, started, stored};

fn claims(lifetime: i64) -> Value {
    let now = SystemClock.now().unix_seconds();
    json!({
        "iss": ISSUER, "sub": "user", "aud": "https://api.example", "client_id": "app", "jti": "id",
        "iat": now, "nbf": now, "exp": now + lifetime, "auth_time": now, "acr": "urn:signet:aal2",
        "amr": ["pwd", "otp", "mfa"],
    })
}

async fn sign(group: &HsmGroup, key: &HsmKey, token_type: &str, payload: &Value) -> Result<(), String> {
    let jwk = key.public.as_ref().unwrap();
    let header =
        Header { algorithm: jwk.algorithm, key_id: Some(jwk.key_id.clone()), token_type: Some(token_type.to_owned()) };
    let input = signing_input(&header, payload.to_string().as_bytes());
    match group.sign(key, jwk.algorithm, input.into_bytes()).await {
        Ok(_) => Ok(()),
        Err(error) => match error.failure {
            HsmFailure::Refused(detail) => Err(detail),
            other => panic!("{other}"),
        },
    }
}

/// What a taken-over server would like to have signed.
#[tokio::test]
async fn a_taken_over_server_gets_no_ten_year_token_and_no_foreign_bytes() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let key = pair(&group, Algorithm::Es256).await;
    assert_eq!(sign(&group, &key, "at+jwt", &claims(300)).await, Ok(()));
    let refused = [
        ("at+jwt", claims(315_360_000), "lasts 315360000s"),
        ("at+jwt", json!({ "a": 1 }), "`iss`"),
        ("JWT", claims(300), "`typ`"),
        ("logout+jwt", claims(300), "`typ`"),
        ("signet-checkpoint+jwt", json!({ "v": 1 }), "a token_signing key does not sign a checkpoint"),
        ("signet-test+jws", claims(300), "payload"),
    ];
    for (token_type, payload, why) in &refused {
        let detail = sign(&group, &key, token_type, payload).await.unwrap_err();
        assert!(detail.contains(why), "{token_type}: {detail}");
    }
    let foreign: [&[u8]; 3] = [b"", b"30313233", &[0; 32]];
    for bytes in foreign {
        let failure = group.sign(&key, Algorithm::Es256, bytes.to_vec()).await.unwrap_err().failure;
        assert!(matches!(failure, HsmFailure::Refused(_)), "{failure}");
    }
    let counted = group.tally(&hsm()).await.unwrap().remove(0);
    assert_eq!((counted.tokens, counted.refused), (1, 9));
    group.shutdown().await;
}

#[tokio::test]
async fn an_audit_key_signs_no_token() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    let made = group.generate_announced(&announced(KeyPurpose::AuditSigning, Algorithm::Es256), 0).await.unwrap();
    let key = stored(&made, KeyPurpose::AuditSigning, Some(Algorithm::Es256));
    let checkpoint =
        json!({ "v": 1, "node": "one", "seq": 1, "hash": "A".repeat(43), "at": SystemClock.now().to_string() });
    assert_eq!(sign(&group, &key, "signet-checkpoint+jwt", &checkpoint).await, Ok(()));
    assert_eq!(sign(&group, &key, "signet-custody+jws", &json!({ "held": true })).await, Ok(()));
    assert!(sign(&group, &key, "at+jwt", &claims(300)).await.unwrap_err().contains("does not sign a token"));
    // Nor under another purpose's name: the key itself says what it is for.
    let disguised = HsmKey { purpose: KeyPurpose::TokenSigning, ..key };
    let jwk = disguised.public.clone().unwrap();
    let header = Header { algorithm: jwk.algorithm, key_id: Some(jwk.key_id), token_type: Some("at+jwt".to_owned()) };
    let input = signing_input(&header, claims(300).to_string().as_bytes());
    let signed = group.sign(&disguised, jwk.algorithm, input.into_bytes()).await;
    let failure = signed.unwrap_err().failure.to_string();
    assert!(failure.contains("was made as audit_signing"), "{failure}");
    group.shutdown().await;
}

/// The signing input of a token that may be signed.
fn token(key: &HsmKey) -> Vec<u8> {
    let jwk = key.public.as_ref().unwrap();
    let header =
        Header { algorithm: jwk.algorithm, key_id: Some(jwk.key_id.clone()), token_type: Some("at+jwt".to_owned()) };
    signing_input(&header, claims(300).to_string().as_bytes()).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_ceiling_tokens_are_turned_away_at_once_and_nothing_else_is() {
    let soft_token = SoftToken::new();
    let mut config = soft_token.config();
    config.policy.most_per_second = 100;
    let (group, _events) = started(config).await;
    let key = Arc::new(pair(&group, Algorithm::Es256).await);
    let started = Instant::now();
    let until = started + Duration::from_secs(2);
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let (group, key) = (group.clone(), key.clone());
            tokio::spawn(async move {
                let (mut signed, mut refused) = (0_u32, 0_u32);
                while Instant::now() < until {
                    match group.sign(&key, Algorithm::Es256, token(&key)).await.map_err(|error| error.failure) {
                        Ok(_) => signed += 1,
                        Err(HsmFailure::Overloaded) => refused += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
                (signed, refused)
            })
        })
        .collect();
    let mut tests = 0;
    while Instant::now() < until {
        drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.expect("a test signature is not held back"));
        tests += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut signed, mut refused) = (0, 0);
    for stream in streams {
        let counts = stream.await.unwrap();
        (signed, refused) = (signed + counts.0, refused + counts.1);
    }
    let allowed = 100.0 * (1.0 + started.elapsed().as_secs_f64());
    assert!(f64::from(signed) <= allowed + 1.0 && signed >= 150, "{signed} signed, {allowed} allowed");
    assert!(refused > 10, "{refused}");
    let counted = group.tally(&hsm()).await.unwrap().remove(0);
    assert_eq!((counted.tokens, counted.tests), (u64::from(signed), tests));
    group.shutdown().await;
}

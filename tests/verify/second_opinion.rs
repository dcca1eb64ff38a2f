//! Several implementations, one verdict.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_jose::Algorithm;
use signet_jose::clock::{Clock as _, SystemClock};

use signet::second_opinion::{by_jsonwebtoken, by_other_arithmetic, second_opinion};

use crate::issuer::SoftKey;

/// `jsonwebtoken` asks the machine's own clock.
fn current(key: &SoftKey) -> String {
    let now = SystemClock.now().unix_seconds();
    key.changed(|_, claims| {
        for (claim, value) in [("iat", now), ("nbf", now), ("exp", now + 300)] {
            claims[claim] = value.into();
        }
    })
}

#[test]
fn another_implementation_accepts_what_every_algorithm_signs() {
    for algorithm in Algorithm::ALL {
        let key = SoftKey::generate(algorithm);
        assert_eq!(second_opinion(&key.verifier(), &current(&key)), Ok(()), "{algorithm}");
    }
}

#[test]
fn another_implementation_refuses_what_is_foreign_or_changed() {
    let (key, other) = (SoftKey::generate(Algorithm::Es256), SoftKey::generate(Algorithm::Es256));
    let verifier = key.verifier();
    let foreign = other.changed(|header, _| header["kid"] = key.jwk.key_id.as_str().into());
    let elsewhere = key.changed(|_, claims| claims["aud"] = "https://other.example".into());
    for token in [foreign, elsewhere, key.honest(), "no token".to_owned()] {
        assert!(second_opinion(&verifier, &token).is_err(), "{token}");
    }
}

/// Each opinion has to stand for itself: were one of them to accept everything, the other alone would hide it.
#[test]
fn a_changed_signature_or_message_is_refused_by_each_implementation_alone() {
    for algorithm in Algorithm::ALL {
        let (key, other) = (SoftKey::generate(algorithm), SoftKey::generate(algorithm));
        let (verifier, good) = (key.verifier(), current(&key));
        by_jsonwebtoken(&verifier, &key.jwk, &good).unwrap();
        by_other_arithmetic(&key.jwk, &good).unwrap();
        let (input, signature) = good.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let with = |signature: &[u8]| format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        let changed = (0..signature.len()).step_by(31).map(|place| {
            let mut signature = signature.clone();
            signature[place] ^= 1;
            with(&signature)
        });
        let (header, payload) = input.split_once('.').unwrap();
        let message = format!("{header}.e30{payload}.{}", URL_SAFE_NO_PAD.encode(&signature));
        let others = [with(&signature[1..]), with(&[]), with(&vec![0; signature.len()]), current(&other), message];
        for token in changed.chain(others) {
            assert!(by_jsonwebtoken(&verifier, &key.jwk, &token).is_err(), "{algorithm}: {token}");
            assert!(by_other_arithmetic(&key.jwk, &token).is_err(), "{algorithm}: {token}");
        }
    }
}

//! Several implementations, one verdict.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_jose::{Algorithm, Jwk, JwkSet, KeyId};
use signet_verify::Verifier;

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

/// RFC 9864 calls one thing by another name, in keys and in tokens.
#[test]
fn ed25519_by_its_own_name_is_eddsa() {
    let key = SoftKey::generate(Algorithm::EdDsa);
    let now = SystemClock.now().unix_seconds();
    let token = key.changed(|header, claims| {
        header["alg"] = "Ed25519".into();
        for (claim, value) in [("iat", now), ("nbf", now), ("exp", now + 300)] {
            claims[claim] = value.into();
        }
    });
    let mut document = JwkSet { keys: vec![key.jwk.clone()] }.to_json();
    document["keys"][0]["alg"] = "Ed25519".into();
    let verifier = Verifier::builder(key.verifier().policy().issuer.clone()).danger_any_audience();
    let verifier = verifier.build_from_text(&document.to_string()).unwrap();
    assert!(verifier.verify_now(&token).is_ok());
    assert_eq!(second_opinion(&verifier, &token), Ok(()));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let other = SoftKey::generate(Algorithm::EdDsa).honest();
    let swapped = format!("{input}.{}", other.rsplit_once('.').unwrap().1);
    assert!(
        signature.len() > 80 && verifier.verify_now(&swapped).is_err() && second_opinion(&verifier, &swapped).is_err()
    );
}

/// RFC 7517 §4.5 has keys of different types under one name.
#[test]
fn a_token_is_verified_by_the_key_of_its_name_and_algorithm() {
    let keys = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].map(SoftKey::generate);
    let jwks = JwkSet { keys: keys.iter().map(|key| Jwk { key_id: KeyId::new("k1"), ..key.jwk.clone() }).collect() };
    let verifier = Verifier::builder(keys[0].verifier().policy().issuer.clone()).danger_any_audience();
    let verifier = verifier.build_from_text(&jwks.to_json().to_string()).unwrap();
    let now = SystemClock.now().unix_seconds();
    for key in &keys {
        let token = key.changed(|header, claims| {
            header["kid"] = "k1".into();
            for (claim, value) in [("iat", now), ("nbf", now), ("exp", now + 300)] {
                claims[claim] = value.into();
            }
        });
        assert!(verifier.verify_now(&token).is_ok(), "{}", key.jwk.algorithm);
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

/// One signature in 256 begins with a zero: without it, it is no signature (RFC 8017 §8.1.2).
#[test]
fn an_rsa_signature_without_its_leading_zero_is_refused_by_each_implementation() {
    let key = SoftKey::generate(Algorithm::Ps256);
    let verifier = key.verifier();
    let begins_with_zero = |token: &String| {
        let signature = URL_SAFE_NO_PAD.decode(token.rsplit_once('.').unwrap().1).unwrap();
        signature[0] == 0
    };
    // A salt of its own makes each signature another one.
    let good = std::iter::repeat_with(|| current(&key)).take(20_000).find(begins_with_zero).unwrap();
    by_other_arithmetic(&key.jwk, &good).unwrap();
    let (input, signature) = good.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let short = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&signature[1..]));
    assert!(by_jsonwebtoken(&verifier, &key.jwk, &short).is_err());
    assert!(by_other_arithmetic(&key.jwk, &short).is_err());
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

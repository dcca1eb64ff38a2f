//! Two implementations, one verdict.

use signet_jose::Algorithm;
use signet_jose::clock::{Clock as _, SystemClock};

use signet::second_opinion::second_opinion;

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

//! A token, a JWK and a JWKS from anybody: parsing never panics, and an unverified token shows no claims.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signet_jose::{Jwk, JwkSet, UnverifiedJws, strict_json};

fuzz_target!(|bytes: &[u8]| {
    let _ = strict_json::object(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = UnverifiedJws::parse(text);
        let _ = Jwk::from_json(text);
        let _ = JwkSet::from_json(text);
        let _ = signet_verify::inspect(text);
    }
});

//! Rows 1 to 19: tokens (RFC 7515, 7519, 8725, 9068). Every refusal is `invalid_token` to the caller.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Verifier as _;
use serde_json::{Value, json};
use signet_jose::{Algorithm, Jwk, JwsError, KeyId, UnverifiedJws, VerifyingKey};
use signet_verify::Refusal;
use signet_verify::bearer::BearerError;
use signet_verify::{Verifier, VerifyError};

use crate::issuer::{AUDIENCE, ISSUER, NOW, SoftKey, builder, claims, set};

#[track_caller]
fn refused(verifier: &Verifier, token: &str, expected: impl Into<VerifyError>) {
    let error = verifier.verify_now(token).unwrap_err();
    assert_eq!(error, expected.into(), "{token}");
    let answer = BearerError::from(error);
    assert_eq!((answer.status().as_u16(), answer.code()), (401, Some("invalid_token")));
}

fn es256() -> (SoftKey, Verifier) {
    let key = SoftKey::generate(Algorithm::Es256);
    let verifier = key.verifier();
    assert_eq!(verifier.verify_now(&key.honest()).unwrap().subject(), "user");
    (key, verifier)
}

/// The token with another third part.
fn with_signature(token: &str, signature: &[u8]) -> String {
    let (input, _) = token.rsplit_once('.').unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signature_of(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.rsplit_once('.').unwrap().1).unwrap()
}

#[test]
fn every_algorithm_verifies_and_only_with_its_own_key() {
    for algorithm in Algorithm::ALL {
        let (key, other) = (SoftKey::generate(algorithm), SoftKey::generate(algorithm));
        key.verifier().verify_now(&key.honest()).unwrap();
        let forged = other.changed(|header, _| header["kid"] = key.jwk.key_id.as_str().into());
        refused(&key.verifier(), &forged, JwsError::Signature);
        refused(&key.verifier(), &with_signature(&key.honest(), &[1; 512]), JwsError::Signature);
    }
}

#[test]
fn hazard_01_alg_none_is_refused_in_any_spelling() {
    let (key, verifier) = es256();
    for name in ["none", "None", "NONE", "nOnE", "", "null"] {
        let token = key.changed(|header, _| header["alg"] = name.into());
        refused(&verifier, &token, JwsError::Algorithm);
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert!(verifier.verify_now(&unsigned).is_err());
    }
    refused(&verifier, &key.changed(|header, _| header["alg"] = Value::Null), JwsError::Header);
}

#[test]
fn hazard_02_hmac_with_the_public_key_is_refused() {
    let key = SoftKey::generate(Algorithm::Rs256);
    let der = key.jwk.key.to_spki_der();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    for secret in [&der[..], pem.as_bytes(), key.jwk.to_json().to_string().as_bytes()] {
        let token = key.changed(|header, _| header["alg"] = "HS256".into());
        let (input, _) = token.rsplit_once('.').unwrap();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        refused(&key.verifier(), &with_signature(&token, tag.as_ref()), JwsError::Algorithm);
        // The same tag under the key's own algorithm is no signature.
        refused(&key.verifier(), &with_signature(&key.honest(), tag.as_ref()), JwsError::Signature);
    }
}

#[test]
fn hazard_03_the_right_key_with_another_algorithm_is_refused() {
    let published = SoftKey::generate(Algorithm::Rs256);
    for algorithm in ["RS384", "RS512", "PS256", "ES256", "EdDSA"] {
        let token = published.changed(|header, _| header["alg"] = algorithm.into());
        refused(&published.verifier(), &token, JwsError::Algorithm);
    }
    let es256_only = builder().algorithms([Algorithm::Es256]).build_from_keys(set([&published]));
    refused(&es256_only, &published.honest(), Refusal::Algorithm);
}

#[test]
fn hazard_04_a_hostile_kid_is_only_looked_up() {
    let (key, verifier) = es256();
    let known = key.jwk.key_id.as_str();
    let hostile =
        ["", "../../../dev/null", "' OR 1=1 --", "a\u{0}b", "unknown", &format!("{known}\u{0}"), &"k".repeat(256)];
    for kid in hostile {
        refused(&verifier, &key.changed(|header, _| header["kid"] = kid.into()), VerifyError::UnknownKey);
    }
    refused(&verifier, &key.changed(|header, _| header["kid"] = "k".repeat(257).into()), JwsError::Header);
    refused(&verifier, &key.changed(|header, _| header["kid"] = "k".repeat(65536).into()), JwsError::TooLong);
    for kid in [json!(7), json!(null), json!([known]), json!({ "kid": known })] {
        refused(&verifier, &key.changed(|header, _| header["kid"] = kid), JwsError::Header);
    }
}

#[test]
fn hazard_05_keys_named_in_the_header_are_refused_and_not_fetched() {
    let (key, verifier) = es256();
    let attacker = SoftKey::generate(Algorithm::Es256);
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://{}/jwks", trap.local_addr().unwrap());
    let certificate = json!([STANDARD.encode(attacker.jwk.key.to_spki_der())]);
    let members = [("jwk", attacker.jwk.to_json()), ("jku", json!(url)), ("x5u", json!(url)), ("x5c", certificate)];
    for (name, value) in members {
        refused(&verifier, &key.changed(|header, _| header[name] = value.clone()), JwsError::RefusedMember);
        refused(&verifier, &attacker.changed(|header, _| header[name] = value), JwsError::RefusedMember);
    }
    assert_eq!(trap.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn hazard_06_a_missing_short_or_long_signature_is_refused() {
    let (key, verifier) = es256();
    let token = key.honest();
    let (input, _) = token.rsplit_once('.').unwrap();
    refused(&verifier, &format!("{input}."), JwsError::NotCompact);
    refused(&verifier, input, JwsError::NotCompact);
    refused(&verifier, &format!("{token}."), JwsError::NotCompact);
    refused(&verifier, &format!("{token}.AA"), JwsError::NotCompact);
    let signature = signature_of(&token);
    for length in [1, 32, 63] {
        refused(&verifier, &with_signature(&token, &signature[..length]), JwsError::Signature);
    }
    refused(&verifier, &with_signature(&token, &[&signature[..], &[0]].concat()), JwsError::Signature);
    refused(&verifier, &with_signature(&token, &[&[0], &signature[..]].concat()), JwsError::Signature);
}

#[test]
fn hazard_07_degenerate_ecdsa_signatures_are_refused() {
    let (key, verifier) = es256();
    let token = key.honest();
    let signature = signature_of(&token);
    let (r, s) = signature.split_at(32);
    let n = order_of_p256();
    let n_plus_one = {
        let mut number = n;
        number[31] += 1;
        number
    };
    let zero = [0; 32];
    for (r, s) in
        [(&zero[..], &zero[..]), (r, &zero), (&zero, s), (&n, s), (r, &n), (&n, &n), (&n_plus_one, s), (&[0xff; 32], s)]
    {
        refused(&verifier, &with_signature(&token, &[r, s].concat()), JwsError::Signature);
    }
    let der = p256::ecdsa::Signature::from_slice(&signature).unwrap().to_der();
    refused(&verifier, &with_signature(&token, der.as_bytes()), JwsError::Signature);

    for (algorithm, length) in [(Algorithm::Es384, 96), (Algorithm::EdDsa, 64), (Algorithm::Rs256, 256)] {
        let key = SoftKey::generate(algorithm);
        for byte in [0x00, 0xff] {
            refused(&key.verifier(), &with_signature(&key.honest(), &vec![byte; length]), JwsError::Signature);
        }
    }
}

fn order_of_p256() -> [u8; 32] {
    let minus_one = -p256::Scalar::ONE;
    let mut order: [u8; 32] = minus_one.to_bytes().into();
    order[31] += 1;
    order
}

#[test]
fn hazard_08_a_malleated_signature_changes_no_claim() {
    let (key, verifier) = es256();
    let token = key.honest();
    let signature = p256::ecdsa::Signature::from_slice(&signature_of(&token)).unwrap();
    let (r, s) = signature.split_scalars();
    let malleated = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    let malleated = with_signature(&token, &malleated.to_bytes());
    assert_ne!(malleated, token);
    // What revocation keys on is the same, whichever of the two is shown.
    let token_id = |token: &str| verifier.verify_now(token).unwrap().token_id().to_owned();
    assert_eq!(token_id(&malleated), token_id(&token));
}

#[test]
fn hazard_09_other_base64_is_refused() {
    let (key, verifier) = es256();
    let token = key.honest();
    let parts: Vec<&str> = token.split('.').collect();
    for index in 0..3 {
        let part = parts[index];
        let standard = STANDARD.encode(URL_SAFE_NO_PAD.decode(part).unwrap());
        let padded = URL_SAFE.encode(URL_SAFE_NO_PAD.decode(part).unwrap());
        let spoilt = [
            format!("{part}="),
            format!("{part}=="),
            format!(" {part}"),
            format!("{part}\n"),
            format!("{part}\r\n"),
            format!("{}\t{}", &part[..4], &part[4..]),
            format!("+/{part}"),
            format!("{part}%3D"),
        ];
        for changed in spoilt.into_iter().chain([standard, padded].into_iter().filter(|changed| changed != part)) {
            let mut parts = parts.clone();
            parts[index] = &changed;
            refused(&verifier, &parts.join("."), JwsError::NotCompact);
        }
    }
    // 64 bytes leave four unused bits in the last character: each other value of them is another text for one token.
    let last = token.chars().next_back().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.find(last).unwrap();
    for spare in 1..16 {
        let other = &alphabet[value + spare..=value + spare];
        refused(&verifier, &format!("{}{other}", &token[..token.len() - 1]), JwsError::NotCompact);
    }
}

#[test]
fn hazard_10_names_given_twice_are_refused() {
    let (key, verifier) = es256();
    let (header, payload) = (key.header().to_string(), claims().to_string());
    for double in
        [r#"{"alg":"ES256","#, r#"{"kid":"x","#, r#"{"typ":"at+jwt","#, r#"{"x":1,"x":1,"#, r#"{"\u0061lg":"none","#]
    {
        refused(&verifier, &key.token(&header.replacen('{', double, 1), &payload), JwsError::Header);
    }
    for double in [r#"{"sub":"root","#, r#"{"\u0073ub":"root","#, r#"{"exp":1,"#, r#"{"x":{"y":1,"y":1},"#] {
        refused(&verifier, &key.token(&header, &payload.replacen('{', double, 1)), Refusal::Payload);
    }
}

#[test]
fn hazard_11_crit_b64_and_zip_are_refused() {
    let (key, verifier) = es256();
    let members = [
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("crit", json!("x")),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
    ];
    for (name, value) in members {
        refused(&verifier, &key.changed(|header, _| header[name] = value), JwsError::RefusedMember);
    }
}

#[test]
fn hazard_12_encrypted_nested_and_json_tokens_are_refused() {
    let (key, verifier) = es256();
    let token = key.honest();
    refused(&verifier, &format!("{token}.AA.AA"), JwsError::NotCompact);
    refused(&verifier, &key.changed(|header, _| header["enc"] = "A256GCM".into()), JwsError::RefusedMember);
    for content_type in ["JWT", "jwt", "application/jwt"] {
        let header = {
            let mut header = key.header();
            header["cty"] = content_type.into();
            header.to_string()
        };
        refused(&verifier, &key.token(&header, &token), JwsError::RefusedMember);
    }
    refused(&verifier, &key.token(&key.header().to_string(), &token), Refusal::Payload);
    let parts: Vec<&str> = token.split('.').collect();
    let flattened = json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] });
    let general = json!({ "payload": parts[1], "signatures": [{ "protected": parts[0], "signature": parts[2] }] });
    for serialised in [flattened, general] {
        assert!(verifier.verify_now(&serialised.to_string()).is_err());
    }
}

#[test]
fn hazard_13_size_and_depth_are_bounded() {
    let (key, verifier) = es256();
    let padded = |length: usize| key.changed(|_, claims| claims["x"] = "x".repeat(length).into());
    verifier.verify_now(&padded(5000)).unwrap();
    refused(&verifier, &padded(7000), JwsError::TooLong);
    refused(&verifier, &"a".repeat(10_000_000), JwsError::TooLong);
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    verifier.verify_now(&key.changed(|_, claims| claims["x"] = nested(15))).unwrap();
    refused(&verifier, &key.changed(|_, claims| claims["x"] = nested(16)), Refusal::Payload);
    refused(&verifier, &key.changed(|header, _| header["x"] = nested(16)), JwsError::Header);
    let deep = format!(r#"{{"x":{}"#, "[".repeat(5000));
    refused(&verifier, &key.token(&key.header().to_string(), &deep), Refusal::Payload);
}

#[test]
fn hazard_14_an_exp_that_can_not_be_read_is_not_absent() {
    let (key, verifier) = es256();
    let with_exp = |exp: &str| {
        let payload = claims().to_string().replace(&format!("\"exp\":{}", NOW + 300), &format!("\"exp\":{exp}"));
        assert!(payload.contains(exp));
        key.token(&key.header().to_string(), &payload)
    };
    verifier.verify_now(&with_exp(&(NOW + 1).to_string())).unwrap();
    for exp in [
        "\"1700000300\"",
        "-1",
        "-1e3",
        "9223372036854775808",
        "9223372036854775807",
        "18446744073709551616",
        "1e300",
        "null",
        "true",
        "[1700000300]",
        "{}",
    ] {
        refused(&verifier, &with_exp(exp), Refusal::Malformed("exp"));
    }
    for exp in ["1e400", "NaN", "Infinity", "01700000300", "0x6553F100"] {
        refused(&verifier, &with_exp(exp), Refusal::Payload);
    }
    refused(&verifier, &with_exp("0"), Refusal::Expired);
    let absent = key.changed(|_, claims| drop(claims.as_object_mut().unwrap().remove("exp")));
    refused(&verifier, &absent, Refusal::Missing("exp"));
}

#[test]
fn hazard_15_times_in_the_future_are_refused_beyond_the_skew() {
    let (key, verifier) = es256();
    for name in ["nbf", "iat"] {
        verifier.verify_now(&key.changed(|_, claims| claims[name] = (NOW + 10).into())).unwrap();
        refused(&verifier, &key.changed(|_, claims| claims[name] = (NOW + 60).into()), Refusal::NotYetValid);
        for value in [json!("1700000000"), json!(-1), json!(null), json!(1e300)] {
            refused(&verifier, &key.changed(|_, claims| claims[name] = value), Refusal::Malformed(name));
        }
    }
    refused(&verifier, &key.changed(|_, claims| claims["exp"] = (NOW - 60).into()), Refusal::Expired);
}

#[test]
fn hazard_16_one_audience_must_match_exactly() {
    let (key, verifier) = es256();
    let with = |audience: Value| key.changed(|_, claims| claims["aud"] = audience);
    for audience in [json!(AUDIENCE), json!([AUDIENCE]), json!(["other", AUDIENCE])] {
        verifier.verify_now(&with(audience)).unwrap();
    }
    for audience in [
        json!(""),
        json!([]),
        json!([""]),
        json!("*"),
        json!(format!("{AUDIENCE}/")),
        json!(format!("{AUDIENCE} other")),
        json!(AUDIENCE.to_uppercase()),
        json!(&AUDIENCE[..AUDIENCE.len() - 1]),
        json!([ISSUER]),
    ] {
        refused(&verifier, &with(audience), Refusal::Audience);
    }
    for audience in [json!([[AUDIENCE]]), json!({ AUDIENCE: true }), json!(null), json!(7), json!([AUDIENCE, 7])] {
        refused(&verifier, &with(audience), Refusal::Malformed("aud"));
    }
    let absent = key.changed(|_, claims| drop(claims.as_object_mut().unwrap().remove("aud")));
    refused(&verifier, &absent, Refusal::Missing("aud"));
}

#[test]
fn hazard_17_other_kinds_of_tokens_are_no_access_tokens() {
    let (key, verifier) = es256();
    for token_type in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        verifier.verify_now(&key.changed(|header, _| header["typ"] = token_type.into())).unwrap();
    }
    for token_type in ["JWT", "id+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "", "at+jwt;x", "text/at+jwt"] {
        refused(&verifier, &key.changed(|header, _| header["typ"] = token_type.into()), Refusal::TokenType);
    }
    let untyped = key.changed(|header, _| drop(header.as_object_mut().unwrap().remove("typ")));
    refused(&verifier, &untyped, Refusal::TokenType);
    // A refresh token is opaque: 256 random bits, base64url.
    refused(&verifier, &URL_SAFE_NO_PAD.encode([7; 32]), JwsError::NotCompact);
}

#[test]
fn hazard_18_another_issuer_is_refused() {
    let (key, verifier) = es256();
    for issuer in
        ["https://issuer.example/", "https://ISSUER.example", "http://issuer.example", "https://issuer.example/t/b", ""]
    {
        refused(&verifier, &key.changed(|_, claims| claims["iss"] = issuer.into()), Refusal::Issuer);
    }
    for issuer in [json!([ISSUER]), json!(null)] {
        refused(&verifier, &key.changed(|_, claims| claims["iss"] = issuer), Refusal::Malformed("iss"));
    }
    // Another tenant's key with this issuer's name, under its own name and under this key's.
    let other = SoftKey::generate(Algorithm::Es256);
    refused(&verifier, &other.honest(), VerifyError::UnknownKey);
    let renamed = other.changed(|header, _| header["kid"] = key.jwk.key_id.as_str().into());
    refused(&verifier, &renamed, JwsError::Signature);
}

#[test]
fn hazard_19_a_key_that_is_no_longer_published_verifies_nothing() {
    let (revoked, kept) = (SoftKey::generate(Algorithm::Es256), SoftKey::generate(Algorithm::Es256));
    let before = builder().build_from_keys(set([&revoked, &kept]));
    before.verify_now(&revoked.honest()).unwrap();
    let after = builder().build_from_keys(set([&kept]));
    refused(&after, &revoked.honest(), VerifyError::UnknownKey);
    let nameless = revoked.changed(|header, _| drop(header.as_object_mut().unwrap().remove("kid")));
    refused(&after, &nameless, JwsError::Signature);
    refused(&before, &nameless, VerifyError::UnknownKey);
}

#[test]
fn other_libraries_agree_on_which_signatures_verify() {
    let key = SoftKey::generate(Algorithm::Es256);
    let verifying = VerifyingKey::new(key.jwk.clone());
    let theirs =
        <p256::ecdsa::VerifyingKey as p256::pkcs8::DecodePublicKey>::from_public_key_der(&key.jwk.key.to_spki_der())
            .unwrap();
    let signature = key.sign(b"message");
    for spoilt in 0..=signature.len() {
        let mut signature = signature.clone();
        if let Some(byte) = signature.get_mut(spoilt) {
            *byte ^= 1
        }
        let opinion =
            p256::ecdsa::Signature::from_slice(&signature).and_then(|signature| theirs.verify(b"message", &signature));
        assert_eq!(verifying.check(b"message", &signature).is_ok(), opinion.is_ok());
        assert_eq!(opinion.is_ok(), spoilt == signature.len());
    }

    let key = SoftKey::generate(Algorithm::Rs256);
    let theirs =
        <rsa::RsaPublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(&key.jwk.key.to_spki_der()).unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(b"message");
    let prefix = rsa::Pkcs1v15Sign { hash_len: Some(32), prefix: DIGEST_INFO_SHA256.into() };
    theirs.verify(prefix, &digest, &key.sign(b"message")).unwrap();
    VerifyingKey::new(key.jwk.clone()).check(b"message", &key.sign(b"message")).unwrap();

    let key = SoftKey::generate(Algorithm::Es256);
    let token = key.honest();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.jwk.to_json()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_exp = false;
    let theirs = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    assert_eq!(jsonwebtoken::decode::<Value>(&token, &theirs, &validation).unwrap().claims, claims());
}

/// The DigestInfo of SHA-256 up to the digest (RFC 8017 §9.2).
const DIGEST_INFO_SHA256: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

#[test]
fn a_key_named_by_hand_is_found_by_that_name() {
    let key = SoftKey::generate(Algorithm::EdDsa);
    let named = Jwk { key_id: KeyId::new("2026-01"), ..key.jwk.clone() };
    let verifier = builder().build_from_keys(signet_jose::JwkSet { keys: vec![named] });
    let token = key.changed(|header, _| header["kid"] = "2026-01".into());
    assert_eq!(UnverifiedJws::parse(&token).unwrap().header().key_id, Some(KeyId::new("2026-01")));
    verifier.verify_now(&token).unwrap();
}

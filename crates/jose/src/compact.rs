//! Writing a compact JWS (RFC 7515 §7.1): the text that an HSM signs, and the token once it has.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Header;

/// Room for the third part, so that [`assemble`] seldom moves the token: an RSA-2048 signature with its dot.
const SIGNATURE_ROOM: usize = 344;

/// The signing input of RFC 7515 §5.1: `BASE64URL(header) "." BASE64URL(claims)`.
pub fn signing_input(header: &Header, claims_json: &[u8]) -> String {
    let header_json = header.to_json();
    let length = (header_json.len() + claims_json.len()).div_ceil(3) * 4 + 8;
    let mut input = String::with_capacity(length + SIGNATURE_ROOM);
    URL_SAFE_NO_PAD.encode_string(header_json, &mut input);
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(claims_json, &mut input);
    input
}

/// The compact JWS of a signing input and its signature (for ECDSA `r ‖ s`, RFC 7518 §3.4).
pub fn assemble(signing_input: String, signature: &[u8]) -> String {
    let mut token = signing_input;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

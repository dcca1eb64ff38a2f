//! What verified: a value that only [`UnverifiedJws::verify`](super::UnverifiedJws::verify) makes.

use std::fmt;

use aws_lc_rs::signature as aws;

use super::{Algorithm, Header, Jwk, KeyId};

/// A public key made ready to verify with one algorithm. Its point or modulus is parsed once, here.
pub struct VerifyingKey {
    jwk: Jwk,
    /// `None` where key and algorithm don't belong together: such a key verifies nothing.
    prepared: Option<aws::ParsedPublicKey>,
}

/// The signature is not this key's over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct WrongSignature;

impl VerifyingKey {
    /// Makes a key ready. A [`Jwk`] put together by hand whose algorithm is not for its key verifies nothing.
    pub fn new(jwk: Jwk) -> Self {
        let belongs = jwk.algorithm.key_type() == jwk.key.key_type();
        let prepared = belongs
            .then(|| aws::ParsedPublicKey::new(verification(jwk.algorithm), jwk.key.to_spki_der()).ok())
            .flatten();
        Self { jwk, prepared }
    }

    /// The key.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// The one algorithm that this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.jwk.algorithm
    }

    /// The key's name.
    pub fn key_id(&self) -> &KeyId {
        &self.jwk.key_id
    }

    /// Checks a raw signature (for ECDSA `r ‖ s`, RFC 7518 §3.4) over a message.
    ///
    /// # Errors
    ///
    /// [`WrongSignature`].
    pub fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), WrongSignature> {
        let prepared = self.prepared.as_ref().ok_or(WrongSignature)?;
        prepared.verify_sig(message, signature).map_err(|_| WrongSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("VerifyingKey").field(&self.jwk).finish()
    }
}

/// The library's name of an algorithm. ECDSA is the fixed `r ‖ s`; the PSS salt is as long as the digest.
fn verification(algorithm: Algorithm) -> &'static dyn aws::VerificationAlgorithm {
    match algorithm {
        Algorithm::Es256 => &aws::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &aws::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &aws::ED25519,
        Algorithm::Rs256 => &aws::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &aws::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &aws::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &aws::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &aws::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &aws::RSA_PSS_2048_8192_SHA512,
    }
}

/// A JWS whose signature verified: its payload may be read.
#[derive(Debug, Clone)]
pub struct VerifiedJws {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

impl VerifiedJws {
    /// The header, now trustworthy.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload, now trustworthy.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JwsError, UnverifiedJws};

    /// RFC 7515 §A.2: RS256.
    const RS256: (&str, &str) = (
        r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    /// RFC 7515 §A.3: ES256.
    const ES256: (&str, &str) = (
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    /// RFC 8037 §A.4: EdDSA.
    const EDDSA: (&str, &str) = (
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );

    fn key(json: &str) -> VerifyingKey {
        VerifyingKey::new(Jwk::from_json(json).unwrap())
    }

    #[test]
    fn the_examples_of_the_rfcs_verify() {
        for (jwk, token) in [RS256, ES256, EDDSA] {
            let verified = UnverifiedJws::parse(token).unwrap().verify(&key(jwk)).unwrap();
            assert!(verified.payload().starts_with(b"Example") || verified.payload().starts_with(b"{\"iss\":\"joe\""));
        }
    }

    #[test]
    fn an_example_with_another_payload_or_key_does_not_verify() {
        let changed = ES256.1.replace("eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJib2Ii");
        assert_eq!(UnverifiedJws::parse(&changed).unwrap().verify(&key(ES256.0)).unwrap_err(), JwsError::Signature);
        assert_eq!(UnverifiedJws::parse(ES256.1).unwrap().verify(&key(EDDSA.0)).unwrap_err(), JwsError::Algorithm);
    }

    #[test]
    fn a_key_with_an_algorithm_that_is_not_its_own_verifies_nothing() {
        let mut jwk = Jwk::from_json(ES256.0).unwrap();
        jwk.algorithm = Algorithm::EdDsa;
        assert_eq!(VerifyingKey::new(jwk).check(b"message", &[0; 64]), Err(WrongSignature));
    }
}

//! The only PKCS#11 code.

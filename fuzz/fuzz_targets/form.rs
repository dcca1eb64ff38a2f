//! A form body and an Authorization header from anybody.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signet_core::oauth::grant::TokenRequest;
use signet_core::oauth::{Parameters, PresentedCredentials};

fuzz_target!(|input: (&str, &[u8])| {
    let (authorization, body) = input;
    if let Ok(parameters) = Parameters::parse(body) {
        let _ = TokenRequest::read(&parameters);
        let _ = PresentedCredentials::read(Some(authorization), &parameters);
        let _ = PresentedCredentials::read(None, &parameters);
    }
});

//! What a person types as a code, and what a Yubico OTP's block decrypts to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::yubico_otp::Reading;

fuzz_target!(|input: (&str, [u8; 16], [u8; 6])| {
    let (text, block, private_id) = input;
    let _ = OtpText::classify(text);
    let _ = Reading::decode(&block, &private_id);
});

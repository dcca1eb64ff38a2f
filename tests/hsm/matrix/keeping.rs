//! Faults while secrets are sealed, opened and used.

use super::expected::{Expected, by_code_in_short};
use super::{Asked, both_phases};

async fn faults_of(name: &str, functions: &[(Asked, &str)], at_least: u32) {
    both_phases(name, at_least, async |scene, phase| {
        for (asked, function) in functions {
            for (code, expected) in by_code_in_short() {
                scene.case(*asked, &format!("{function} nth 1 {phase} return {code}"), expected).await;
            }
            for (what, expected) in [("segv", Expected::Restarts), ("logout", Expected::Mended)] {
                scene.case(*asked, &format!("{function} nth 1 {phase} {what}"), expected).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_fault_while_a_secret_is_sealed_and_opened() {
    let functions = [
        (Asked::Seal, "C_EncryptInit"),
        (Asked::Seal, "C_Encrypt"),
        (Asked::Open, "C_DecryptInit"),
        (Asked::Open, "C_Decrypt"),
        (Asked::Derive, "C_SignInit"),
        (Asked::Derive, "C_Sign"),
    ];
    faults_of("sealing", &functions, 72).await;
}

#[tokio::test]
async fn every_fault_while_a_wrapped_secret_is_used() {
    let functions = [
        (Asked::Enclose, "C_CreateObject"),
        (Asked::Enclose, "C_WrapKey"),
        (Asked::OtpHmac, "C_UnwrapKey"),
        (Asked::OtpHmac, "C_DestroyObject"),
        (Asked::DecryptBlock, "C_DecryptInit"),
        (Asked::DecryptBlock, "C_Decrypt"),
    ];
    faults_of("wrapping", &functions, 72).await;
}

/// Modules answer a ciphertext that was tampered with by codes that a fault of their own has too.
#[tokio::test]
async fn a_passing_fault_is_not_taken_for_tampering() {
    both_phases("not tampering", 8, async |scene, phase| {
        for function in ["C_DecryptInit", "C_Decrypt"] {
            for code in ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_ENCRYPTED_DATA_INVALID", "CKR_ARGUMENTS_BAD"]
            {
                scene.case(Asked::Open, &format!("{function} nth 1 {phase} return {code}"), Expected::Mended).await;
            }
        }
    })
    .await;
}

//! Faults while secrets are sealed, opened and used.

use std::time::Duration;

use super::expected::{Expected, PHASES, by_code_in_short};
use super::{Asked, Scene};

const DEADLINE: Duration = Duration::from_secs(5);

async fn faults_of(name: &str, functions: &[(Asked, &str)], at_least: u32) {
    let mut scene = Scene::new(DEADLINE).await;
    for (asked, function) in functions {
        for phase in PHASES {
            for (code, expected) in by_code_in_short() {
                scene.case(*asked, &format!("{function} nth 1 {phase} return {code}"), expected).await;
            }
            for (what, expected) in [("segv", Expected::Restarts), ("logout", Expected::Mended)] {
                scene.case(*asked, &format!("{function} nth 1 {phase} {what}"), expected).await;
            }
        }
    }
    scene.end(name, at_least).await;
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
    faults_of("sealing", &functions, 144).await;
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
    faults_of("wrapping", &functions, 144).await;
}

/// Modules answer a ciphertext that was tampered with by codes that a fault of their own has too.
#[tokio::test]
async fn a_passing_fault_is_not_taken_for_tampering() {
    let mut scene = Scene::new(DEADLINE).await;
    for function in ["C_DecryptInit", "C_Decrypt"] {
        for phase in PHASES {
            for code in ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_ENCRYPTED_DATA_INVALID", "CKR_ARGUMENTS_BAD"]
            {
                scene.case(Asked::Open, &format!("{function} nth 1 {phase} return {code}"), Expected::Mended).await;
            }
        }
    }
    scene.end("not tampering", 16).await;
}

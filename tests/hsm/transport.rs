//! A secret goes from one HSM token to another that no process reaches both of, by the other's transport key (promises 1 and 2).

use signet_core::keys::{
    Custody, HsmFailure, HsmKey, KeyAdmin as _, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealedCopies,
    Signer as _, Vault as _, envelope,
};
use signet_core::random::OsRandom;
use signet_core::secret::SecretBytes;
use signet_hsm::HsmGroup;
use signet_jose::Algorithm;

use crate::support::hsm::{SoftToken, announced, hsm, probe, started, stored, tenant, vault_keys};

const KEPT: &[KeyPurpose] = &[KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding];
const HMAC: OtpSecretKind = OtpSecretKind::Hmac(OtpHash::Sha1);

fn row(id: &str) -> RowBinding {
    RowBinding::new(&tenant(), "factors", id, "secret")
}

async fn transport(group: &HsmGroup) -> HsmKey {
    let purpose = KeyPurpose::Transport;
    let made = group.generate_announced(&announced(purpose, Algorithm::Es256), 0).await.unwrap();
    stored(&made, purpose, Some(Algorithm::Es256))
}

fn sealed_there(seal: Vec<u8>) -> SealedCopies {
    SealedCopies([(hsm(), seal)].into())
}

#[tokio::test]
async fn a_secret_goes_to_another_token_by_its_transport_key_and_for_its_row_alone() {
    let (one, two) = (SoftToken::new(), SoftToken::new());
    let ((here, _a), (there, _b)) = (started(one.config()).await, started(two.config()).await);
    vault_keys(&here, KEPT).await;
    vault_keys(&there, KEPT).await;
    let (transport, other) = (transport(&there).await, transport(&there).await);
    let to = &transport.public.as_ref().unwrap().key;
    // An OTP's secret, and one that is opened.
    let seed = SecretBytes::new(b"12345678901234567890".to_vec());
    let seals = here.wrap(&row("one"), HMAC, &seed).await.unwrap();
    let sent = here.put_in_envelope(&row("one"), Some(HMAC), &seals, to).await.unwrap();
    let came = sealed_there(there.take_envelope(&transport, &row("one"), Some(HMAC), &sent).await.unwrap());
    let hmac = async |group: &HsmGroup, seals| group.otp_hmac(&row("one"), seals, OtpHash::Sha1, vec![[7; 8]]).await;
    assert_eq!(hmac(&there, &came).await.unwrap(), hmac(&here, &seals).await.unwrap());
    let phc = SecretBytes::new(b"a password's hash".to_vec());
    let seals = here.seal(&row("two"), &phc).await.unwrap();
    let sent_phc = here.put_in_envelope(&row("two"), None, &seals, to).await.unwrap();
    let came = sealed_there(there.take_envelope(&transport, &row("two"), None, &sent_phc).await.unwrap());
    assert_eq!(there.open(&row("two"), &came).await.unwrap(), phc);
    // Another row, another kind, another key, and another content.
    let mut altered = sent.clone();
    *altered.last_mut().unwrap() ^= 1;
    for (key, row, kind, sent) in [
        (&transport, row("two"), Some(HMAC), &sent),
        (&transport, row("one"), None, &sent),
        (&transport, row("one"), Some(OtpSecretKind::Aes128), &sent),
        (&other, row("one"), Some(HMAC), &sent),
        (&transport, row("one"), Some(HMAC), &altered),
        (&transport, row("one"), Some(HMAC), &sent[..70].to_vec()),
    ] {
        let refused = there.take_envelope(key, &row, kind, sent).await.unwrap_err();
        assert_eq!(refused.failure, HsmFailure::DoesNotOpen, "{row:?} {kind:?}");
    }
    // A point that is not on the curve never reaches the HSM.
    let mut off = sent.clone();
    off[64] ^= 1;
    let refused = there.take_envelope(&transport, &row("one"), Some(HMAC), &off).await.unwrap_err();
    assert_eq!(refused.failure, HsmFailure::DoesNotOpen);
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn the_server_is_given_the_deployments_secret_alone() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    vault_keys(&group, KEPT).await;
    let transport = transport(&group).await;
    let to = &transport.public.as_ref().unwrap().key;
    let seal = |row: &RowBinding| envelope::seal(&OsRandom, to, row, None, b"secret").unwrap();
    let opened = group.open_deployment_secret(&transport, &seal(&RowBinding::of_deployment_secret())).await.unwrap();
    assert_eq!(opened, SecretBytes::new(b"secret".to_vec()));
    let refused = group.open_deployment_secret(&transport, &seal(&row("one"))).await.unwrap_err();
    assert_eq!(refused.failure, HsmFailure::DoesNotOpen);
    group.shutdown().await;
}

#[tokio::test]
async fn a_transport_key_is_in_custody_and_does_this_one_thing() {
    let token = SoftToken::new();
    let (group, _events) = started(token.config()).await;
    vault_keys(&group, KEPT).await;
    let transport = transport(&group).await;
    let reports = group.list(&hsm()).await.unwrap();
    let report = reports.iter().find(|report| report.cka_id == transport.cka_id).unwrap();
    assert_eq!((&report.custody, report.kind.as_str()), (&Custody::Held, "EC P-256"));
    assert!(report.label.starts_with("signet/default/transport/"), "{}", report.label);
    assert!(group.check(&hsm(), std::slice::from_ref(&transport)).await.unwrap().is_empty());
    // As itself it signs nothing, and as another it is not taken.
    let signed = group.sign(&transport, Algorithm::Es256, probe(&transport)).await.unwrap_err();
    assert!(matches!(signed.failure, HsmFailure::Refused(_)), "{signed}");
    let posed = HsmKey { purpose: KeyPurpose::AuditSigning, ..transport.clone() };
    let signed = group.sign(&posed, Algorithm::Es256, probe(&transport)).await.unwrap_err();
    assert!(matches!(signed.failure, HsmFailure::CustodyRefused { .. }), "{signed}");
    // Nor does a key that signs open envelopes.
    let made = group.generate_announced(&announced(KeyPurpose::AuditSigning, Algorithm::Es256), 0).await.unwrap();
    let signing = stored(&made, KeyPurpose::AuditSigning, Some(Algorithm::Es256));
    let sent = envelope::seal(&OsRandom, &signing.public.as_ref().unwrap().key, &row("one"), None, b"x").unwrap();
    let refused = group.take_envelope(&signing, &row("one"), None, &sent).await.unwrap_err();
    assert!(matches!(refused.failure, HsmFailure::Refused(_)), "{refused}");
    let posed = HsmKey { purpose: KeyPurpose::Transport, ..signing };
    let refused = group.take_envelope(&posed, &row("one"), None, &sent).await.unwrap_err();
    assert!(matches!(refused.failure, HsmFailure::CustodyRefused { .. }), "{refused}");
    group.shutdown().await;
}

//! Secrets on their way between HSM tokens that no node reaches both of (`signet_core::keys::envelope`). What comes out of an
//! envelope is sealed here and never leaves the worker; the deployment's secret alone is given to the server, which works with it.

use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType as ModuleKeyType, ObjectClass};
use zeroize::Zeroizing;

use super::error::{Fault, Result};
use super::key_session::KeySession;
use crate::wire::{Answer, KeyRef, Octets, SealedSecret, SealingPlace, SecretKind};
use signet_core::keys::{HsmFailure, KeyPurpose, OtpSecretKind, RowBinding, envelope, hpke};
use signet_core::random::OsRandom;
use signet_jose::PublicKey;
use signet_jose::algorithm::KeyType;

/// The x-coordinate of a point of P-256.
const SHARED_BYTES: u64 = 32;

impl KeySession {
    /// Opens an envelope by this token's transport key and seals for the same token what was in it.
    pub(super) fn take_envelope(&mut self, transport: &KeyRef, place: &SealingPlace, sealed: &[u8]) -> Result<Answer> {
        let secret = self.decapsulate(transport, &place.row.0, place.kind, sealed)?;
        self.seal(&place.keys, &place.row.0, place.kind, &secret)
    }

    /// Opens an envelope that holds the deployment's secret; nothing else is bound to its row.
    pub(super) fn open_deployment_secret(&mut self, transport: &KeyRef, sealed: &[u8]) -> Result<Answer> {
        let row = RowBinding::of_deployment_secret();
        let mut secret = self.decapsulate(transport, row.as_bytes(), SecretKind::Opened, sealed)?;
        Ok(Answer::Bytes(Octets(std::mem::take(&mut *secret))))
    }

    /// Opens a secret of this token and encrypts it to another token's transport key. As a handing-over it is limited in number: who
    /// has taken the server over could name a key of their own.
    pub(super) fn put_in_envelope(
        &mut self,
        sealed: &SealedSecret,
        wrapped: Option<OtpSecretKind>,
        to: &[u8],
    ) -> Result<Answer> {
        let to =
            PublicKey::from_ec_point(KeyType::P256, to).map_err(|_| refuse("a transport key is a point of P-256"))?;
        let handed_over = match wrapped {
            Some(kind) => self.export_secret(sealed, kind)?,
            None if self.shared.guard.may_export() => self.open(sealed)?,
            None => return Err(HsmFailure::Overloaded.into()),
        };
        let Answer::Bytes(secret) = handed_over else { return Err(does_not_open()) };
        let row = RowBinding::from_bytes(&sealed.row.0).ok_or_else(does_not_open)?;
        let envelope = envelope::seal(&OsRandom, &to, &row, wrapped, &secret.0).map_err(refuse)?;
        Ok(Answer::Bytes(Octets(envelope)))
    }

    fn decapsulate(
        &mut self,
        transport: &KeyRef,
        row: &[u8],
        kind: SecretKind,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        if transport.purpose != KeyPurpose::Transport {
            return Err(refuse("an envelope is opened by a transport key alone"));
        }
        let (encapsulated, _) = hpke::parts(sealed).ok_or_else(does_not_open)?;
        // A point that is not on the curve tells something of the private half: no module is asked about one.
        PublicKey::from_ec_point(KeyType::P256, encapsulated).map_err(|_| does_not_open())?;
        let recipient = self.public_half(transport)?;
        let row = RowBinding::from_bytes(row).ok_or_else(does_not_open)?;
        let associated = envelope::associated(&row, kind.wrapped());
        let shared = self.agree(transport, encapsulated)?;
        hpke::open(&shared, sealed, &envelope::bound(&recipient, &associated)).ok_or_else(does_not_open)
    }

    /// `CKM_ECDH1_DERIVE` without a derivation function: the x-coordinate of the shared point, as a session object that is read once.
    fn agree(&mut self, transport: &KeyRef, point: &[u8; hpke::ENCAPSULATED_BYTES]) -> Result<Zeroizing<Vec<u8>>> {
        self.shared.token.mechanisms.require(MechanismType::ECDH1_DERIVE, "CKM_ECDH1_DERIVE")?;
        let handle = self.handle(transport)?;
        let session = self.session()?;
        let parameters = Ecdh1DeriveParams::new(EcKdf::null(), point);
        let shared = session.derive_key(&Mechanism::Ecdh1Derive(parameters), handle, &shared_template())?;
        let read = session.get_attributes(shared, &[AttributeType::Value]);
        let destroyed = session.destroy_object(shared);
        let read = read?;
        destroyed?;
        match read.into_iter().next() {
            Some(Attribute::Value(value)) => Ok(Zeroizing::new(value)),
            _ => Err(HsmFailure::MechanismMissing("reading a derived key".to_owned()).into()),
        }
    }
}

fn shared_template() -> [Attribute; 7] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(ModuleKeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::ValueLen(SHARED_BYTES.into()),
    ]
}

fn does_not_open() -> Fault {
    HsmFailure::DoesNotOpen.into()
}

fn refuse(why: impl ToString) -> Fault {
    HsmFailure::Refused(why.to_string()).into()
}

//! Passwords: Argon2id (RFC 9106) with OWASP's parameters, and what a new password must be (NIST SP 800-63B-4 §3.1.1). A password
//! is compared by OpaqueString (RFC 8265 §4.2), so that it is right from every keyboard.
//!
//! Hashing takes tens of milliseconds of one core and 19 MiB: run it off the async threads, behind a semaphore.

use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHasher as _, Version};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::UserId;
use super::authentication::PasswordProof;
use super::common_passwords::is_common;
use crate::precis::{PrecisFault, check_opaque_string, opaque_string};
use crate::random::{self, Random};
use crate::secret::SecretText;

/// Memory in KiB (OWASP Password Storage: 19 MiB with two passes and one lane).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// What stands before the hash of a password's OpaqueString form. A hash without it is of the password as it was typed when it was
/// set, by a version of Signet that compared so: it goes on being right for that very text.
const OPAQUE: &str = "OpaqueString:";

/// Argon2id refused, for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct PasswordError;

/// Hashes a password's OpaqueString form with a new salt. Returns its mark and a PHC text (`OpaqueString:$argon2id$v=19$...`), to be
/// sealed before it is stored.
pub fn hash(password: &SecretText, random: &dyn Random) -> Result<SecretText, PasswordError> {
    let salt = random::bytes::<SALT_BYTES>(random);
    let opaque = opaque_string(password.expose());
    let phc = hasher()?.hash_password_with_salt(opaque.as_bytes(), &salt).map_err(|_| PasswordError)?;
    Ok(SecretText::new(format!("{OPAQUE}{phc}")))
}

/// The hash of a password that nobody knows: what a sign-in is judged against where there is no user or no password,
/// so that it takes the same work. Made once at start, with the parameters of [`hash`].
pub fn decoy_phc(random: &dyn Random) -> Result<SecretText, PasswordError> {
    hash(&SecretText::new(random::url_text::<32>(random)), random)
}

/// The memory that one hash at a time fills: 19 MiB from the first hash on, blank between two.
///
/// It is used again and again because an allocator need not give so much memory back: glibc keeps it for each of its
/// arenas, and hashes run on whatever thread is free.
#[derive(Default)]
pub struct Workspace(Vec<Block>);

impl Workspace {
    /// So many blocks, all blank. None where there is no memory for them.
    fn blocks(&mut self, count: usize) -> Option<&mut [Block]> {
        self.0.try_reserve_exact(count.saturating_sub(self.0.len())).ok()?;
        self.0.resize(count, Block::new());
        Some(&mut self.0)
    }

    /// A password can be guessed by what its hash left behind.
    fn wipe(&mut self) {
        self.0.fill(Block::new());
    }
}

/// Judges a shown password against a user's PHC text, in time that does not depend on either.
pub fn verify(
    user: &UserId,
    password: &SecretText,
    phc: &SecretText,
    workspace: &mut Workspace,
) -> Option<PasswordProof> {
    matches(password, phc, workspace).then(|| PasswordProof::new(user.clone()))
}

/// The work of [`verify`] where there is nobody to prove: it proves nothing, whatever the password.
pub fn verify_decoy(password: &SecretText, decoy_phc: &SecretText, workspace: &mut Workspace) {
    // The black box keeps the optimizer from dropping work whose result nobody wants.
    std::hint::black_box(matches(password, decoy_phc, workspace));
}

fn matches(password: &SecretText, phc: &SecretText, workspace: &mut Workspace) -> bool {
    let matched = hashes_to(password, phc, workspace);
    workspace.wipe();
    matched.unwrap_or(false)
}

/// Whether the password has the text's hash, by the text's own salt and parameters. None where that can't be told: the
/// text is none of Argon2id's, or memory is short.
fn hashes_to(password: &SecretText, phc: &SecretText, workspace: &mut Workspace) -> Option<bool> {
    // Both forms are made, whichever the hash is of: one hash is computed for every password, and nothing tells which.
    let (opaque, typed) = (opaque_string(password.expose()), password.expose());
    let (phc, shown_text) = match phc.expose().strip_prefix(OPAQUE) {
        Some(phc) => (phc, opaque.as_str()),
        None => (phc.expose(), typed),
    };
    let stored = PasswordHash::new(phc).ok().filter(|stored| stored.algorithm == ARGON2ID_IDENT)?;
    let (salt, expected) = (stored.salt.as_ref()?, stored.hash.as_ref()?);
    let version = stored.version.map_or(Ok(Version::V0x13), Version::try_from).ok()?;
    let hasher = Argon2::new(Algorithm::Argon2id, version, Params::try_from(&stored).ok()?);
    let blocks = workspace.blocks(hasher.params().block_count())?;
    let mut output = Zeroizing::new([0; Output::MAX_LENGTH]);
    let shown = output.get_mut(..expected.len())?;
    hasher.hash_password_into_with_memory(shown_text.as_bytes(), salt, shown, blocks).ok()?;
    Some(shown.ct_eq(expected.as_bytes()).into())
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let parameters = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| PasswordError)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

/// What a new password must be. No rules of composition and no expiry (NIST SP 800-63B-4 §3.1.1.2).
#[derive(Debug, Clone, Copy, Default)]
pub struct PasswordPolicy;

/// Why a new password is refused, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// Under 8 characters.
    #[error("the password is too short: choose at least {} characters", PasswordPolicy::MIN_CHARACTERS)]
    TooShort,
    /// Over 1024 bytes.
    #[error("the password is too long: choose one of at most {} bytes", PasswordPolicy::MAX_BYTES)]
    TooLong,
    /// A character that no sign-in could show, such as a line end, or that differs between systems.
    #[error("the password can't be typed everywhere, choose another one: {0}")]
    Character(#[source] PrecisFault),
    /// One of those that are guessed first.
    #[error(
        "the password is one of the most common ones, which are guessed first: choose another one, such as four words that don't belong together"
    )]
    Common,
}

impl PasswordPolicy {
    /// NIST asks for 8 characters of a password that is used with a second factor, as every password is here.
    pub const MIN_CHARACTERS: usize = 8;
    /// The longest password in bytes, of which every byte counts.
    pub const MAX_BYTES: usize = 1024;

    /// Judges a new password.
    /// Errors: [`PasswordRefused`] says what to do.
    pub fn check(password: &str) -> Result<(), PasswordRefused> {
        let opaque = opaque_string(password);
        if password.len().max(opaque.len()) > Self::MAX_BYTES {
            return Err(PasswordRefused::TooLong);
        }
        check_opaque_string(password).map_err(PasswordRefused::Character)?;
        if opaque.chars().count() < Self::MIN_CHARACTERS {
            return Err(PasswordRefused::TooShort);
        }
        if is_common(&opaque) { Err(PasswordRefused::Common) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    fn secret(text: &str) -> SecretText {
        SecretText::new(text.to_owned())
    }

    fn judge(user: &UserId, password: &SecretText, phc: &SecretText) -> Option<PasswordProof> {
        verify(user, password, phc, &mut Workspace::default())
    }

    #[test]
    fn the_right_password_proves_its_user_and_another_does_not() {
        let user = UserId::new("u1");
        let phc = hash(&secret("correct horse"), &OsRandom).unwrap();
        assert!(phc.expose().starts_with("OpaqueString:$argon2id$v=19$m=19456,t=2,p=1$"), "OWASP's parameters");
        assert_eq!(judge(&user, &secret("correct horse"), &phc).unwrap().user(), &user);
        assert!(judge(&user, &secret("correct horsf"), &phc).is_none());
        assert!(judge(&user, &secret(""), &phc).is_none());
        assert_ne!(phc.expose(), hash(&secret("correct horse"), &OsRandom).unwrap().expose(), "a new salt each time");
    }

    #[test]
    fn a_workspace_that_was_used_serves_again_and_is_blank_between() {
        let (user, mut workspace) = (UserId::new("u1"), Workspace::default());
        let large = secret("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc");
        let phc = hash(&secret("correct horse"), &OsRandom).unwrap();
        for _ in 0..2 {
            assert!(verify(&user, &secret("password"), &large, &mut workspace).is_some());
            assert!(verify(&user, &secret("correct horsf"), &phc, &mut workspace).is_none());
            assert!(verify(&user, &secret("correct horse"), &phc, &mut workspace).is_some());
            assert_eq!(workspace.0.len(), usize::try_from(MEMORY_KIB).unwrap());
            assert!(workspace.0.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
        }
    }

    #[test]
    fn the_decoy_costs_what_a_hash_costs() {
        let parameters = |phc: &str| phc.rsplitn(3, '$').last().unwrap_or_default().to_owned();
        let decoy = decoy_phc(&OsRandom).unwrap();
        assert_eq!(parameters(decoy.expose()), parameters(hash(&secret("x"), &OsRandom).unwrap().expose()));
        verify_decoy(&secret("anything"), &decoy, &mut Workspace::default());
    }

    #[test]
    fn a_stored_text_of_another_algorithm_or_none_proves_nothing() {
        let phc = hash(&secret("correct horse"), &OsRandom).unwrap();
        for text in ["", "correct horse", &phc.expose().replace("argon2id", "argon2i")] {
            assert!(judge(&UserId::new("u"), &secret("correct horse"), &secret(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn a_vector_of_the_reference_implementation_verifies() {
        // github.com/P-H-C/phc-winner-argon2, src/test.c: Argon2id v=19, t=2, m=2^16, p=1, "password", "somesalt".
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(judge(&UserId::new("u"), &secret("password"), &secret(phc)).is_some());
        assert!(judge(&UserId::new("u"), &secret("passwore"), &secret(phc)).is_none());
    }

    #[test]
    fn the_policy_counts_characters_and_bytes() {
        assert_eq!(PasswordPolicy::check("sieben7"), Err(PasswordRefused::TooShort));
        assert_eq!(PasswordPolicy::check("ääääääää"), Ok(()));
        assert_eq!(PasswordPolicy::check(&"x".repeat(1024)), Ok(()));
        assert_eq!(PasswordPolicy::check(&"x".repeat(1025)), Err(PasswordRefused::TooLong));
        // Seven characters, whatever they are composed of.
        assert_eq!(PasswordPolicy::check(&"a\u{308}".repeat(7)), Err(PasswordRefused::TooShort));
    }

    #[test]
    fn hazard_115_a_password_is_right_in_either_form_and_an_old_hash_for_what_was_typed() {
        let (composed, apart) = ("Pässwörd größe", "Pa\u{308}sswo\u{308}rd\u{a0}gro\u{308}ße");
        let user = UserId::new("u1");
        for set in [composed, apart] {
            let phc = hash(&secret(set), &OsRandom).unwrap();
            for typed in [composed, apart] {
                assert!(judge(&user, &secret(typed), &phc).is_some(), "{set} set, {typed} typed");
            }
            assert!(judge(&user, &secret("Passwort große"), &phc).is_none());
            // As a version before kept it: of the password as it was typed.
            let salt = random::bytes::<SALT_BYTES>(&OsRandom);
            let old = hasher().unwrap().hash_password_with_salt(set.as_bytes(), &salt).unwrap();
            assert!(judge(&user, &secret(set), &secret(&old.to_string())).is_some(), "{set}");
            assert!(judge(&user, &secret("Passwort große"), &secret(&old.to_string())).is_none());
        }
    }

    #[test]
    fn hazard_116_what_no_sign_in_could_take_or_anybody_would_guess_is_refused_when_it_is_set() {
        for text in
            ["first-line\nsecond-line", "eight\0chars", "with\ttabulator", "carriage\rreturn", "zero\u{200b}width"]
        {
            assert!(matches!(PasswordPolicy::check(text), Err(PasswordRefused::Character(_))), "{text:?}");
        }
        for text in
            ["password", "PassWord", "qwertyuiop", "ｐａｓｓｗｏｒｄ", "1q2w3e4r", "sunshine", "Trustno1", "jennifer"]
        {
            assert_eq!(PasswordPolicy::check(text), Err(PasswordRefused::Common), "{text}");
        }
        assert_eq!(PasswordPolicy::check("pass word of mine"), Ok(()));
    }
}

//! Why something was refused, failed or changed: the one place that spells the reasons of audit records.

use crate::keys::KeyEnd;
use crate::mfa::webauthn::RegistrationFault;
use crate::words::words;

words! {
    /// A reason, in the fixed word that audit records carry.
    pub enum Reason {
        /// Nobody has this name.
        UnknownUser = "unknown_user",
        /// The user, or the client, is disabled.
        Disabled = "disabled",
        /// The user of a grant is disabled or gone.
        DisabledUser = "disabled_user",
        /// The password is wrong.
        WrongPassword = "wrong_password",
        /// Neither the password nor what was shown beside it is right.
        WrongHalves = "wrong_halves",
        /// No factor of the user's can be shown now.
        NoFactor = "no_factor",
        /// The code is no factor's.
        WrongCode = "wrong_code",
        /// The code, or the counter beside it, was used before.
        ReplayedCode = "replayed_code",
        /// The code is right, and the one directly after it is wanted as well.
        NextCodeWanted = "next_code_wanted",
        /// Earlier failures lock the factor for a while.
        TooManyTries = "too_many_tries",
        /// A Yubico OTP does not decrypt to a block with its checksum.
        WrongBlock = "wrong_block",
        /// A Yubico OTP carries another private id.
        WrongPrivateId = "wrong_private_id",
        /// The server that has the key refused the OTP.
        RemoteBadOtp = "remote_bad_otp",
        /// The client must sign its requests.
        Unsigned = "unsigned",
        /// The OTP's client asked twice with one nonce.
        ReplayedRequest = "replayed_request",
        /// The key is not known, or not this user's.
        UnknownKey = "unknown_key",
        /// The card signed a nonce that was not made for it.
        WrongNonce = "wrong_nonce",
        /// The card signed a nonce too late.
        StaleNonce = "stale_nonce",
        /// A signature does not verify.
        WrongSignature = "wrong_signature",
        /// A security key answered another challenge, or too late.
        WrongChallenge = "wrong_challenge",
        /// A security key was used on another site.
        WrongOrigin = "wrong_origin",
        /// A security key was asked by another relying party.
        WrongRpId = "wrong_rp_id",
        /// Nobody touched the security key.
        UserAbsent = "user_absent",
        /// The security key did not verify the person.
        UserNotVerified = "user_not_verified",
        /// A security key's counter went back: there may be two of it.
        CounterWentBack = "counter_went_back",
        /// A security key's answer can't be read.
        MalformedAssertion = "malformed_assertion",
        /// A credential that may be copied to other devices.
        NotHardwareBound = "not_hardware_bound",
        /// A key without the attestation that the policy asks for.
        NotAttested = "not_attested",
        /// A key of a model that the policy does not list.
        ModelNotAllowed = "model_not_allowed",
        /// The sign-in proves less than what the policy asks for.
        SignInTooWeak = "sign_in_too_weak",
        /// No role of the user's grants a requested scope.
        NoRoleGrantsIt = "no_role_grants_it",
        /// The change needs a fresh proof.
        StepUpNeeded = "step_up_needed",
        /// The change needs a proof by a stronger factor.
        StrongerStepUpNeeded = "stronger_step_up_needed",
        /// Whoever asked can't approve.
        SameOperator = "same_operator",
        /// The request comes from an address that is not among those allowed.
        AddressNotAllowed = "address_not_allowed",
        /// The client's secret is wrong.
        WrongSecret = "wrong_secret",
        /// The refresh token belongs to another client.
        TokenOfAnotherClient = "token_of_another_client",
        /// The refresh token's family has ended.
        EndedFamily = "ended_family",
        /// The refresh token's family has expired.
        ExpiredFamily = "expired_family",
        /// A spent refresh token was shown again.
        ReplayedRefreshToken = "replayed_refresh_token",
        /// A key ended because its last token had expired.
        Expired = "expired",
        /// A person revoked it.
        Revoked = "revoked",
        /// The HSM token does not have it.
        Lost = "lost",
        /// An interrupted generation left it.
        LeftBehind = "left_behind",
        /// The HSM token has no room left.
        HsmTokenFull = "hsm_token_full",
        /// The key is not in its HSM token.
        KeyMissing = "key_missing",
        /// The key fails custody.
        KeyRefused = "key_refused",
        /// The HSM failed.
        HsmFailed = "hsm_failed",
        /// The store failed.
        StoreFailed = "store",
        /// A rule refused it.
        RefusedByRule = "refused",
        /// More signatures were made than recorded.
        SignaturesWithoutRecord = "signatures_without_record",
        /// Fewer signatures were counted than recorded.
        CountBehindRecords = "count_behind_records",
        /// Requests were given up that may have signed.
        RequestLost = "request_lost",
        /// A process ended without saying what it had under way.
        UncleanEnd = "unclean_end",
        /// The machine lost power, and with it the last of the count.
        PowerLost = "power_lost",
        /// Counting began.
        Baseline = "baseline",
        /// An operator explained the difference.
        Operator = "operator",
        /// An operator accepted the alarm.
        AlarmAccepted = "alarm_accepted",
        /// The operator has less than what the change gives, or than whom it touches.
        MoreThanOperator = "more_than_operator",
        /// Another process was faster.
        Overtaken = "overtaken",
    }
}

impl From<KeyEnd> for Reason {
    fn from(end: KeyEnd) -> Self {
        match end {
            KeyEnd::Expired => Self::Expired,
            KeyEnd::Revoked => Self::Revoked,
            KeyEnd::Lost => Self::Lost,
        }
    }
}

impl From<RegistrationFault> for Reason {
    fn from(fault: RegistrationFault) -> Self {
        match fault {
            RegistrationFault::Synced => Self::NotHardwareBound,
            RegistrationFault::Unattested => Self::NotAttested,
            RegistrationFault::ModelNotAllowed => Self::ModelNotAllowed,
            RegistrationFault::Refused(reason) => reason,
        }
    }
}

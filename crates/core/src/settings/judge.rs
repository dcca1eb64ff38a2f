//! Judges a document of settings.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use webauthn_rs::prelude::{Url, Uuid};
use x509_cert::Certificate;

use super::document::{
    ClaimsOnly, KeyWords, MfaWords, PivWords, PolicyWords, RoleWords, SettingsDocument, TokenWords, WebAuthnWords,
};
use super::{KeySettings, TenantSettings};
use crate::admin::{AdminScope, is_reserved};
use crate::duration;
use crate::mfa::piv_attestation::read_certificates;
use crate::mfa::piv_offer::PivTrust;
use crate::mfa::webauthn::{RelyingParty, attestation_roots};
use crate::mfa::{AssurancePolicy, Lockout, Requirement};
use crate::networks::{BadNetwork, Network};
use crate::oauth::RoleScopes;
use crate::oauth::scope::is_scope_token;
use crate::user_name::UserNames;
use signet_jose::Algorithm;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// At most ten tries an hour: a pause of six minutes for each try.
const MIN_PAUSE_PER_TRY: Duration = Duration::from_secs(6 * 60);
const MOST_TRIES: u32 = 10;
const NEVER: &str = "never";
const DEFAULT_ISSUER_NAME: &str = "Signet";
const LONGEST_ISSUER_NAME: usize = 64;

/// What of a document can't be, and what is expected. It repeats no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {problem}")]
pub struct SettingsFault {
    /// Which setting, such as `tokens.access_lifetime`.
    pub key: String,
    /// What is expected.
    pub problem: String,
}

fn fault(key: impl Into<String>, problem: impl Into<String>) -> SettingsFault {
    SettingsFault { key: key.into(), problem: problem.into() }
}

type Judged<T> = Result<T, SettingsFault>;

impl TenantSettings {
    /// Judges a document, for an issuer of this URL. What is absent is as by default.
    /// Errors: [`SettingsFault`] for the first setting that can't be so.
    pub fn judge(document: &SettingsDocument, issuer: &Url) -> Judged<Self> {
        let (words, algorithm, lifetimes) = tokens(document.tokens.as_ref())?;
        let [access_lifetime, refresh_lifetime, refresh_retry_window] = lifetimes;
        let (key_words, keys) = key_settings(document.keys.as_ref())?;
        let (role_words, role_scopes) = roles(document.roles.as_ref())?;
        let policy_words = document.policy.clone().unwrap_or_default();
        let mfa = Mfa::judge(document.mfa.as_ref(), issuer)?;
        Ok(Self {
            algorithm,
            access_lifetime,
            refresh_lifetime,
            refresh_retry_window,
            keys,
            role_scopes,
            assurance: policy(&policy_words)?,
            allow_from: networks(&policy_words.allow_from)?,
            otp_issuer: mfa.issuer_name,
            lockout: mfa.lockout,
            user_names: mfa.user_names,
            piv: mfa.piv,
            webauthn: mfa.webauthn,
            document: SettingsDocument {
                tokens: Some(words),
                keys: Some(key_words),
                roles: Some(role_words),
                policy: Some(policy_words),
                mfa: Some(mfa.words),
            },
        })
    }
}

fn duration_of(
    key: &str,
    text: Option<&String>,
    bounds: RangeInclusive<Duration>,
    default: Duration,
) -> Judged<Duration> {
    let Some(text) = text else { return Ok(default) };
    duration::parse(text).filter(|duration| bounds.contains(duration)).ok_or_else(|| {
        let (least, most) = (duration::text(*bounds.start()), duration::text(*bounds.end()));
        fault(key, format!("a duration from \"{least}\" to \"{most}\" is expected (units ms, s, m, h, d)"))
    })
}

fn tokens(words: Option<&TokenWords>) -> Judged<(TokenWords, Algorithm, [Duration; 3])> {
    let absent = TokenWords::default();
    let words = words.unwrap_or(&absent);
    let algorithm = match &words.algorithm {
        None => Algorithm::Es256,
        Some(name) => Algorithm::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known = Algorithm::ALL.map(Algorithm::name).join(", ");
            fault("tokens.algorithm", format!("one of {known} is expected"))
        })?,
    };
    let lifetimes = [
        duration_of("tokens.access_lifetime", words.access_lifetime.as_ref(), 10 * SECOND..=DAY, 5 * MINUTE)?,
        duration_of("tokens.refresh_lifetime", words.refresh_lifetime.as_ref(), MINUTE..=365 * DAY, 30 * DAY)?,
        duration_of(
            "tokens.refresh_retry_window",
            words.refresh_retry_window.as_ref(),
            Duration::ZERO..=MINUTE,
            10 * SECOND,
        )?,
    ];
    let [access, refresh, window] = lifetimes.map(|lifetime| Some(duration::text(lifetime)));
    let words = TokenWords {
        algorithm: Some(algorithm.name().to_owned()),
        access_lifetime: access,
        refresh_lifetime: refresh,
        refresh_retry_window: window,
    };
    Ok((words, algorithm, lifetimes))
}

fn key_settings(words: Option<&KeyWords>) -> Judged<(KeyWords, KeySettings)> {
    let absent = KeyWords::default();
    let words = words.unwrap_or(&absent);
    let jwks_max_age = duration_of("keys.jwks_max_age", words.jwks_max_age.as_ref(), SECOND..=DAY, 5 * MINUTE)?;
    let clock_skew =
        duration_of("keys.clock_skew", words.clock_skew.as_ref(), Duration::ZERO..=5 * MINUTE, 10 * SECOND)?;
    let least = jwks_max_age + clock_skew;
    let publish_ahead =
        duration_of("keys.publish_ahead", words.publish_ahead.as_ref(), SECOND..=30 * DAY, HOUR.max(least))?;
    if publish_ahead < least {
        let problem = format!(
            "a key must be published for at least {} before it signs (jwks_max_age and clock_skew together), or \
             verifiers that keep the JWKS refuse its tokens. Raise it, or lower jwks_max_age",
            duration::text(least)
        );
        return Err(fault("keys.publish_ahead", problem));
    }
    let rotate_every = match words.rotate_every.as_deref() {
        Some(NEVER) => None,
        _ => Some(duration_of("keys.rotate_every", words.rotate_every.as_ref(), SECOND..=3650 * DAY, 90 * DAY)?),
    };
    if rotate_every.is_some_and(|every| every < publish_ahead) {
        let problem = format!(
            "a key can't sign for less time than the next one is published ahead: at least {} (publish_ahead), or \
             \"{NEVER}\", is expected",
            duration::text(publish_ahead)
        );
        return Err(fault("keys.rotate_every", problem));
    }
    let text = |duration| Some(duration::text(duration));
    let words = KeyWords {
        rotate_every: rotate_every.map_or_else(|| Some(NEVER.to_owned()), text),
        publish_ahead: text(publish_ahead),
        jwks_max_age: text(jwks_max_age),
        clock_skew: text(clock_skew),
    };
    Ok((words, KeySettings { rotate_every, publish_ahead, jwks_max_age, clock_skew }))
}

fn roles(words: Option<&RoleWords>) -> Judged<(RoleWords, RoleScopes)> {
    let Some(RoleWords::Granting(roles)) = words else {
        return Ok((RoleWords::Claims(ClaimsOnly::ClaimsOnly), RoleScopes::claims_only()));
    };
    for (role, scopes) in roles {
        let refuse = |problem: &str| Err(fault(format!("roles.{role}"), problem));
        if !is_scope_token(role) || role.contains(',') {
            return refuse("a role's name has printable ASCII characters, without space, comma, \" and \\");
        }
        if !scopes.iter().all(|scope| is_scope_token(scope)) {
            return refuse("a scope has printable ASCII characters, without space, \" and \\ (RFC 6749 §3.3)");
        }
        if let Some(unknown) = scopes.iter().find(|scope| is_reserved(scope) && AdminScope::named(scope).is_none()) {
            return refuse(&format!(
                "there is no scope `{unknown}`: those that begin with admin: are the deployment's"
            ));
        }
    }
    Ok((RoleWords::Granting(roles.clone()), RoleScopes::granting(roles.clone())))
}

fn policy(words: &PolicyWords) -> Judged<AssurancePolicy> {
    let read = |key: String, words: &[String]| {
        Requirement::read(words.iter().map(String::as_str)).map_err(|error| fault(key, error.to_string()))
    };
    let by_name = |path: &str, lists: &BTreeMap<String, Vec<String>>| {
        let of =
            |(name, words): (&String, &Vec<String>)| Ok((name.clone(), read(format!("policy.{path}.{name}"), words)?));
        lists.iter().map(of).collect::<Judged<BTreeMap<_, _>>>()
    };
    Ok(AssurancePolicy {
        everybody: read("policy.require".to_owned(), &words.require)?,
        tells_authenticator: words.authenticator_claim,
        clients: by_name("clients", &words.clients)?,
        scopes: by_name("scopes", &words.scopes)?,
        roles: by_name("roles", &words.roles)?,
    })
}

fn networks(texts: &[String]) -> Judged<Vec<Network>> {
    let read = |text: &String| text.parse().map_err(|error: BadNetwork| fault("policy.allow_from", error.to_string()));
    texts.iter().map(read).collect()
}

/// The section `mfa`, judged.
struct Mfa {
    issuer_name: String,
    lockout: Lockout,
    user_names: UserNames,
    piv: PivTrust,
    webauthn: Option<Arc<RelyingParty>>,
    words: MfaWords,
}

impl Mfa {
    fn judge(words: Option<&MfaWords>, issuer: &Url) -> Judged<Self> {
        let absent = MfaWords::default();
        let words = words.unwrap_or(&absent);
        let issuer_name = words.issuer_name.clone().unwrap_or_else(|| DEFAULT_ISSUER_NAME.to_owned());
        let is_too_long = issuer_name.is_empty() || issuer_name.len() > LONGEST_ISSUER_NAME;
        if is_too_long || issuer_name.contains([':', '\0']) {
            return Err(fault("mfa.issuer_name", "a name of at most 64 bytes without a colon is expected"));
        }
        let tries = words.tries.unwrap_or(Lockout::DEFAULT.tries);
        if !(1..=MOST_TRIES).contains(&tries) {
            return Err(fault("mfa.tries", format!("an integer from 1 to {MOST_TRIES} is expected")));
        }
        let pause = duration_of("mfa.pause", words.pause.as_ref(), MIN_PAUSE_PER_TRY..=DAY, Lockout::DEFAULT.pause)?;
        if pause < MIN_PAUSE_PER_TRY * tries {
            return Err(fault("mfa.pause", "it lasts at least six minutes for each of `mfa.tries`"));
        }
        let user_names = match &words.user_names {
            None => UserNames::default(),
            Some(name) => UserNames::named(name).ok_or_else(|| {
                let known = UserNames::ALL.map(UserNames::name).join(", ");
                fault("mfa.user_names", format!("one of {known} is expected"))
            })?,
        };
        let (webauthn_words, webauthn) = webauthn(words.webauthn.as_ref(), issuer, &issuer_name)?;
        let words = MfaWords {
            issuer_name: Some(issuer_name.clone()),
            tries: Some(tries),
            pause: Some(duration::text(pause)),
            user_names: Some(user_names.name().to_owned()),
            piv: Some(words.piv.clone().unwrap_or_default()),
            // What is by default follows the issuer's URL.
            webauthn: words.webauthn.as_ref().and(webauthn_words),
        };
        let piv = words.piv.as_ref().map(piv).transpose()?.unwrap_or_default();
        Ok(Self {
            issuer_name,
            lockout: Lockout { tries, pause },
            user_names,
            piv,
            webauthn: webauthn.map(Arc::new),
            words,
        })
    }
}

fn piv(words: &PivWords) -> Judged<PivTrust> {
    let read = |key: &str, texts: &[String]| -> Judged<Vec<Certificate>> {
        let of = |text: &String| {
            read_certificates(text.as_bytes(), "root certificate").map_err(|error| fault(key, error.to_string()))
        };
        Ok(texts.iter().map(of).collect::<Judged<Vec<_>>>()?.concat())
    };
    if words.require_attestation && words.attestation_roots.is_empty() {
        return Err(fault("mfa.piv.require_attestation", "it needs `mfa.piv.attestation_roots`"));
    }
    Ok(PivTrust {
        roots: read("mfa.piv.roots", &words.roots)?,
        attestation_roots: read("mfa.piv.attestation_roots", &words.attestation_roots)?,
        require_attestation: words.require_attestation,
    })
}

/// What security keys know the deployment as. Without the section it is the host of the issuer's URL; none where that is an IP
/// address, which no key is bound to.
fn webauthn(
    words: Option<&WebAuthnWords>,
    issuer: &Url,
    name: &str,
) -> Judged<(Option<WebAuthnWords>, Option<RelyingParty>)> {
    let own = issuer.domain().zip(origin_of(issuer));
    let absent = WebAuthnWords::default();
    let words = match (words, &own) {
        (None, None) => return Ok((None, None)),
        (words, _) => words.unwrap_or(&absent),
    };
    let expected = "the domain that keys are bound to is expected, e.g. \"example.org\"";
    let rp_id = words.rp_id.clone().or_else(|| issuer.domain().map(str::to_owned));
    let rp_id = rp_id.ok_or_else(|| fault("mfa.webauthn.rp_id", expected))?;
    let mut origins = Vec::new();
    for text in &words.origins {
        let origin = Url::parse(text).ok().and_then(|url| origin_of(&url));
        let expected = "a list of origins is expected, e.g. [\"https://id.example.org\"]";
        origins.push(origin.ok_or_else(|| fault("mfa.webauthn.origins", expected))?);
    }
    if origins.is_empty() {
        origins.extend(own.map(|(_, origin)| origin));
    }
    let roots = attestation(words)?;
    let party = RelyingParty::new(&rp_id, name, &origins, roots).map_err(|_| {
        let problem = "it must be the host of each of `mfa.webauthn.origins`, or a domain that the host is in";
        fault("mfa.webauthn.rp_id", problem)
    })?;
    let words = WebAuthnWords {
        rp_id: Some(rp_id),
        origins: origins.iter().map(|origin| origin.origin().ascii_serialization()).collect(),
        attestation: Some(words.attestation.clone().unwrap_or_else(|| "none".to_owned())),
        aaguids: words
            .aaguids
            .iter()
            .map(|model| model.to_ascii_lowercase())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        trusted_roots: words.trusted_roots.clone(),
    };
    Ok((Some(words), Some(party)))
}

fn attestation(words: &WebAuthnWords) -> Judged<Option<webauthn_rs::prelude::AttestationCaList>> {
    match words.attestation.as_deref() {
        None | Some("none") => {
            for (key, is_set) in [
                ("mfa.webauthn.aaguids", !words.aaguids.is_empty()),
                ("mfa.webauthn.trusted_roots", words.trusted_roots.is_some()),
            ] {
                if is_set {
                    // A list that nothing is held against would look like a protection.
                    return Err(fault(key, "it means something with `attestation = \"required\"` alone"));
                }
            }
            Ok(None)
        }
        Some("required") => {
            let model = |text: &String| {
                let expected = "a list of AAGUIDs is expected, e.g. [\"cb69481e-8ff7-4039-93ec-0a2729a154a8\"]";
                Uuid::parse_str(text).map_err(|_| fault("mfa.webauthn.aaguids", expected))
            };
            let models = words.aaguids.iter().map(model).collect::<Judged<Vec<_>>>()?;
            let key = "mfa.webauthn.trusted_roots";
            let expected =
                "a PEM bundle of the makers' roots, or the JSON payload of a FIDO metadata BLOB, is expected";
            let text = words.trusted_roots.as_ref().ok_or_else(|| fault(key, expected))?;
            attestation_roots::read(text, &models).map(Some).map_err(|error| fault(key, error.to_string()))
        }
        Some(_) => Err(fault("mfa.webauthn.attestation", "one of none, required is expected")),
    }
}

/// Scheme, host and port: https, or http on localhost, which browsers take for secure.
fn origin_of(url: &Url) -> Option<Url> {
    let is_secure = url.scheme() == "https" || url.scheme() == "http" && url.domain() == Some("localhost");
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let origin = is_secure.then(|| Url::parse(&url.origin().ascii_serialization()).ok())??;
    is_plain.then_some(origin)
}

#[cfg(test)]
mod tests;

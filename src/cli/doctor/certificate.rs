//! The certificates of the server's listeners: whether each is valid now and soon and fits its key, and whether the service's is for the
//! name in `server.public_url`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use crate::config::{Config, TlsConfig};
use signet_admin_api::diagnosis::Findings;
use signet_jose::clock::Timestamp;

const SUBJECT: &str = "TLS";
/// A certificate that ends sooner should have been renewed by now.
const SOON: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn examine(config: &Config, now: Timestamp, findings: &mut Findings) {
    match &config.server.tls {
        Some(tls) => {
            if let Some(leaf) = examine_files(tls, now, findings) {
                examine_names(config, &leaf, findings);
            }
        }
        None if config.server.public_url.is_https() => {
            findings.well(SUBJECT, "none here: a proxy in front is expected to terminate it");
        }
        None => {}
    }
    // By which name operators reach it nothing says.
    if let Some(listen) = &config.admin.listen {
        examine_files(&listen.tls, now, findings);
    }
}

/// Looks at a certificate with its chain and its key; returns the certificate.
fn examine_files(tls: &TlsConfig, now: Timestamp, findings: &mut Findings) -> Option<CertificateDer<'static>> {
    examine_key_file(&tls.key, findings);
    let chain = read_chain(&tls.certificate, findings)?;
    let leaf = chain.first()?.clone();
    examine_validity(tls, &chain, now, findings);
    examine_key(tls, chain, findings);
    Some(leaf)
}

fn examine_key(tls: &TlsConfig, chain: Vec<CertificateDer<'static>>, findings: &mut Findings) {
    let key = match PrivateKeyDer::from_pem_file(&tls.key) {
        Ok(key) => key,
        Err(error) => {
            let advice = "it must hold the certificate's private key in PEM (PKCS#8, PKCS#1 or SEC 1)";
            return findings.fault(SUBJECT, format!("the key {}: {error}", tls.key.display()), advice);
        }
    };
    match CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()) {
        Ok(_) => findings.well(SUBJECT, format!("the key is that of {}", tls.certificate.display())),
        Err(rustls::Error::InconsistentKeys(_)) => findings.fault(
            SUBJECT,
            format!("the key {} is not that of the certificate {}", tls.key.display(), tls.certificate.display()),
            "use the key that the certificate was requested with",
        ),
        Err(error) => findings.fault(SUBJECT, error.to_string(), "the server can't use certificate and key"),
    }
}

fn examine_key_file(key: &Path, findings: &mut Findings) {
    let Ok(metadata) = std::fs::metadata(key) else { return };
    if metadata.permissions().mode() & 0o007 != 0 {
        let text = format!("the key {} can be read by everybody on this machine", key.display());
        findings.fault(SUBJECT, text, format!("chmod 0600 {}, and replace it if others were there", key.display()));
    }
}

fn read_chain(path: &Path, findings: &mut Findings) -> Option<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            let text = format!("{} holds no certificate", path.display());
            findings.fault(SUBJECT, text, "it must hold the certificate in PEM, then its chain");
            None
        }
        Err(error) => {
            let advice = "it must be there, readable by this user, and hold the certificate in PEM, then its chain";
            findings.fault(SUBJECT, format!("{}: {error}", path.display()), advice);
            None
        }
    }
}

fn examine_names(config: &Config, leaf: &CertificateDer<'_>, findings: &mut Findings) {
    let host = config.server.public_url.url().host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(leaf), ServerName::try_from(host)) else {
        return findings.fault(SUBJECT, "the certificate can't be read", "ask for a new one");
    };
    match rustls::client::verify_server_name(&parsed, &name) {
        Ok(()) => findings.well(SUBJECT, format!("the certificate is for {host}")),
        Err(_) => findings.fault(
            SUBJECT,
            format!("the certificate is not for {host}, the name in server.public_url"),
            format!("ask for one with the subject alternative name {host}"),
        ),
    }
}

fn examine_validity(tls: &TlsConfig, chain: &[CertificateDer<'_>], now: Timestamp, findings: &mut Findings) {
    let advice = "renew it: a running server takes it up by itself";
    let mut ends = None;
    for (place, certificate) in chain.iter().enumerate() {
        let which = if place == 0 { "the certificate" } else { "a certificate of its chain" };
        let Some((from, until)) = validity(certificate) else {
            return findings.fault(SUBJECT, format!("{which} has no validity that can be read"), advice);
        };
        if now < from {
            return findings.fault(SUBJECT, format!("{which} is valid from {from} only"), "check the clock, or wait");
        }
        if now > until {
            return findings.fault(SUBJECT, format!("{which} expired on {until}"), advice);
        }
        ends = Some(ends.map_or(until, |earlier: Timestamp| earlier.min(until)));
    }
    let Some(ends) = ends else { return };
    let text = format!("{} is valid until {ends}", tls.certificate.display());
    if ends < now.plus(SOON) { findings.warn(SUBJECT, text, advice) } else { findings.well(SUBJECT, text) }
}

/// `notBefore` and `notAfter` (RFC 5280 §4.1.2.5).
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    const SEQUENCE: u8 = 0x30;
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    // The version, where it is written down; then serial number, signature algorithm and issuer.
    if let Some((_, rest)) = element(fields, 0xa0) {
        fields = rest;
    }
    for tag in [0x02, SEQUENCE, SEQUENCE] {
        fields = element(fields, tag)?.1;
    }
    let (times, _) = element(fields, SEQUENCE)?;
    let (from, rest) = time(times)?;
    let (until, _) = time(rest)?;
    Some((from, until))
}

/// The content of a DER element of this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = digits
            .iter()
            .try_fold(0_usize, |length, digit| length.checked_mul(256).map(|length| length | usize::from(*digit)))?;
        (length, rest)
    };
    rest.split_at_checked(length)
}

/// A `UTCTime` or a `GeneralizedTime`, both in UTC with seconds (RFC 5280 §4.1.2.5.1 and 2), and what follows it.
fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = match (element(bytes, 0x17), element(bytes, 0x18)) {
        (Some((text, rest)), _) => {
            let year: u8 = std::str::from_utf8(text.get(..2)?).ok()?.parse().ok()?;
            (text, rest, if year < 50 { "20" } else { "19" })
        }
        (None, Some((text, rest))) => (text, rest, ""),
        (None, None) => return None,
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let part = |range| text.get(range);
    let rfc_3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(8..10)?,
        part(10..12)?,
        part(12..14)?
    );
    let moment: jiff::Timestamp = rfc_3339.parse().ok()?;
    Some((Timestamp::from_unix_millis(moment.as_millisecond()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificates_times_are_read() {
        let mut parameters = rcgen::CertificateParams::new(["id.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 2, 3);
        parameters.not_after = rcgen::date_time_ymd(2051, 1, 2);
        let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let (from, until) = validity(certificate.der()).unwrap();
        assert_eq!(from.to_string(), "2026-02-03T00:00:00.000Z");
        assert_eq!(until.to_string(), "2051-01-02T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_certificate_has_no_times() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80], b"certificate"] {
            assert_eq!(validity(bytes), None);
        }
    }
}

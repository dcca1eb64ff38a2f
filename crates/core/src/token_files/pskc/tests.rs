//! What the figures of RFC 6030 don't have: each restriction, each form of each value, and containers that were changed.

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mfa::{FactorDetail, Validity};
use crate::secret::SecretBytes;
use crate::token_files::{FileFault, ImportOptions, LineFault, ReadToken, Unlock, judge, tokens};
use signet_jose::clock::Timestamp;

const KEY: [u8; 16] = [0x12; 16];
const SEED: &[u8] = b"12345678901234567890";
const FORMAT: &str = "<AlgorithmParameters><ResponseFormat Length=\"6\" Encoding=\"DECIMAL\"/></AlgorithmParameters>";
/// 2026-11-30.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_796_000_000);

fn secret() -> String {
    format!("<Secret><PlainValue>{}</PlainValue></Secret>", STANDARD.encode(SEED))
}

fn package(serial: &str, id: &str, kind: &str, inner: &str) -> String {
    format!(
        "<KeyPackage><DeviceInfo><SerialNo>{serial}</SerialNo></DeviceInfo>\
         <Key Id=\"{id}\" Algorithm=\"urn:ietf:params:xml:ns:keyprov:pskc:{kind}\">{inner}</Key></KeyPackage>"
    )
}

fn container(packages: &str) -> String {
    format!("<KeyContainer Version=\"1.0\" xmlns=\"urn:ietf:params:xml:ns:keyprov:pskc\">{packages}</KeyContainer>")
}

fn read(text: &str, unlock: Unlock) -> Result<Vec<Result<ReadToken, LineFault>>, FileFault> {
    let options = ImportOptions { unlock, now: Some(NOW), ..ImportOptions::default() };
    tokens(text.as_bytes(), &options).map(Iterator::collect)
}

/// What becomes of the one key of a container.
fn only(text: &str, unlock: Unlock) -> Result<ReadToken, String> {
    let mut all = read(text, unlock).map_err(|fault| fault.0)?;
    assert_eq!(all.len(), 1);
    all.remove(0).map_err(|fault| fault.reason)
}

fn with(inner: &str) -> Result<ReadToken, String> {
    only(&container(&package("T1", "k1", "hotp", inner)), Unlock::Plain)
}

/// A value as a container has it whose MACs are by the container's key.
fn encrypted(name: &str, plain: &[u8]) -> String {
    let key = UnboundCipherKey::new(&AES_128, &KEY).and_then(PaddedBlockEncryptingKey::cbc_pkcs7).unwrap();
    let mut bytes = plain.to_vec();
    let DecryptionContext::Iv128(iv) = key.encrypt(&mut bytes).unwrap() else { panic!("CBC has an IV") };
    let whole = [iv.as_ref().as_slice(), &bytes].concat();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &KEY), &whole);
    format!(
        "<{name}><EncryptedValue><EncryptionMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#aes128-cbc\"/><CipherData>\
         <CipherValue>{}</CipherValue></CipherData></EncryptedValue><ValueMAC>{}</ValueMAC></{name}>",
        STANDARD.encode(whole),
        STANDARD.encode(mac)
    )
}

fn key() -> Unlock {
    Unlock::Key(SecretBytes::new(KEY.to_vec()))
}

#[test]
fn hazard_112_what_restricts_a_key_is_honoured_or_refused_by_its_name() {
    let policy = |inner: &str| with(&format!("{FORMAT}<Data>{}</Data><Policy>{inner}</Policy>", secret()));
    for (inner, named) in [
        (
            "<StartDate>2006-01-01T00:00:00Z</StartDate><ExpiryDate>2012-01-01T00:00:00Z</ExpiryDate>",
            "expired on 2012-01-01",
        ),
        ("<ExpiryDate>2012-01-01T00:00:00</ExpiryDate>", "expired on 2012-01-01"),
        ("<ExpiryDate>soon</ExpiryDate>", "ExpiryDate is no date"),
        (
            "<StartDate>2031-01-01T00:00:00Z</StartDate><ExpiryDate>2030-01-01T00:00:00Z</ExpiryDate>",
            "not after its StartDate",
        ),
        ("<KeyUsage>Encrypt</KeyUsage>", "KeyUsage is Encrypt"),
        ("<KeyUsage>Sing</KeyUsage>", "KeyUsage that is not known"),
        ("<NumberOfTransactions>5</NumberOfTransactions>", "NumberOfTransactions"),
        ("<PINPolicy PINUsageMode=\"Append\"/>", "PINUsageMode Append"),
        ("<PINPolicy PINUsageMode=\"Prepend\"/>", "PINUsageMode Prepend"),
        ("<PINPolicy/>", "PINUsageMode"),
        ("<PINPolicy PINUsageMode=\"Local\" Colour=\"red\"/>", "Colour"),
        ("<x:Geofence xmlns:x=\"urn:x\">here</x:Geofence>", "Geofence"),
    ] {
        let refused = policy(inner).unwrap_err();
        assert!(refused.contains(named), "{inner}: {refused}");
    }
    for inner in [
        "",
        "<KeyUsage>OTP</KeyUsage><KeyUsage>CR</KeyUsage>",
        "<PINPolicy PINUsageMode=\"Local\" MinLength=\"4\" PINKeyId=\"p\"/>",
    ] {
        assert_eq!(policy(inner).unwrap().validity, Validity::default(), "{inner}");
    }
    let dated = policy("<StartDate>2026-01-01T00:00:00+01:00</StartDate><ExpiryDate>2031-01-01T00:00:00Z</ExpiryDate>")
        .unwrap();
    let at = |text: &str| Timestamp::from_unix_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let expected = Validity { from: Some(at("2025-12-31T23:00:00Z")), until: Some(at("2031-01-01T00:00:00Z")) };
    assert_eq!(dated.validity, expected);
}

#[test]
fn hazard_112_a_devices_dates_and_a_codes_form_are_honoured_or_refused() {
    let text = container(&package("T1", "k1", "hotp", &format!("{FORMAT}<Data>{}</Data>", secret())));
    let device = |dates: &str| only(&text.replace("</SerialNo>", &format!("</SerialNo>{dates}")), Unlock::Plain);
    assert!(device("<ExpiryDate>2020-06-30T00:00:00Z</ExpiryDate>").unwrap_err().contains("expired on 2020-06-30"));
    assert!(device("<StartDate>2030-01-01T00:00:00Z</StartDate>").unwrap().validity.from.is_some());
    for (found, put, named) in [
        ("Encoding=\"DECIMAL\"", "Encoding=\"DECIMAL\" CheckDigits=\"true\"", "CheckDigits"),
        ("Encoding=\"DECIMAL\"", "Encoding=\"DECIMAL\" CheckDigit=\"1\"", "CheckDigits"),
        ("Encoding=\"DECIMAL\"", "Encoding=\"HEXADECIMAL\"", "not decimal"),
        ("Encoding=\"DECIMAL\"", "Encoding=\"DECIMAL\" Rotation=\"3\"", "Rotation"),
        (
            "<ResponseFormat",
            "<ChallengeFormat Encoding=\"DECIMAL\" Min=\"6\" Max=\"6\"/><ResponseFormat",
            "ChallengeFormat",
        ),
        ("Version=\"1.0\"", "Version=\"2.0\"", "Version"),
    ] {
        let refused = only(&text.replace(found, put), Unlock::Plain).unwrap_err();
        assert!(refused.contains(named), "{put}: {refused}");
    }
    assert!(
        only(&text.replace("Encoding=\"DECIMAL\"", "Encoding=\"DECIMAL\" CheckDigits=\"false\""), Unlock::Plain)
            .is_ok()
    );
}

#[test]
fn hazard_113_a_signed_container_is_refused_unless_its_signature_is_passed_over_knowingly() {
    let good = package("T1", "k1", "hotp", &format!("{FORMAT}<Data>{}</Data>", secret()));
    let signature = "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:SignedInfo/></ds:Signature>";
    for text in [container(&format!("{good}{signature}")), container(&format!("{signature}{good}"))] {
        let refused = read(&text, Unlock::Plain).unwrap_err().0;
        assert!(refused.contains("--ignore-signature"), "{refused}");
        let options = ImportOptions { ignore_signature: true, ..ImportOptions::default() };
        assert_eq!(judge(text.as_bytes(), &options, &mut |_| ()).unwrap().count, 1);
    }
    // A word is no signature.
    assert!(only(&container(&good.replace("T1", "Signature")), Unlock::Plain).is_ok());
}

#[test]
fn hazard_114_every_value_is_read_plain_or_encrypted_and_never_without_its_mac() {
    let whole = |kind: &str, data: &str| {
        let inner = format!("{FORMAT}<Data>{}{data}</Data>", encrypted("Secret", SEED));
        only(&container(&format!("<EncryptionKey/>{}", package("T1", "k1", kind, &inner))), key())
    };
    let token = whole("hotp", &encrypted("Counter", &5_u64.to_be_bytes())).unwrap();
    assert!(matches!(&token.detail, FactorDetail::Hotp(state) if state.next_counter == 5));
    assert_eq!(token.secret.expose(), SEED);
    let data = [
        encrypted("TimeInterval", &60_u32.to_be_bytes()),
        encrypted("TimeDrift", &(-4_i32).to_be_bytes()),
        encrypted("Time", &0_u64.to_be_bytes()),
    ];
    let token = whole("totp", &data.concat()).unwrap();
    assert!(matches!(&token.detail, FactorDetail::Totp(state) if state.step_seconds == 60 && state.drift == -4));
    let plain =
        "<TimeInterval><PlainValue>60</PlainValue></TimeInterval><TimeDrift><PlainValue>-4</PlainValue></TimeDrift>";
    assert!(matches!(&whole("totp", plain).unwrap().detail, FactorDetail::Totp(state) if state.drift == -4));
    for (data, named) in [
        (encrypted("Counter", b"abc"), "Counter is no number"),
        (encrypted("Counter", &(-1_i64).to_be_bytes()), "Counter is no number"),
        (encrypted("Counter", &5_u64.to_be_bytes()).replace("<ValueMAC>", "<ValueMAC>AA"), "Counter"),
        (encrypted("Time", &0_u64.to_be_bytes()).replace("ValueMAC>", "Other>"), "Time is encrypted and has no MAC"),
        ("<TimeDrift><PlainValue>900</PlainValue></TimeDrift>".to_owned(), "TimeDrift"),
    ] {
        let kind = if data.contains("Counter") { "hotp" } else { "totp" };
        let refused = whole(kind, &data).unwrap_err();
        assert!(refused.contains(named), "{data}: {refused}");
    }
}

#[test]
fn hazard_114_keys_of_one_device_are_several_tokens_and_a_pin_beside_its_key_is_none() {
    let data = |more: &str| format!("{FORMAT}<Data>{}</Data>{more}", secret());
    let policy = "<Policy><PINPolicy MinLength=\"4\" MaxLength=\"4\" PINKeyId=\"p1\" PINEncoding=\"DECIMAL\" PINUsageMode=\"Local\"/>\
                  <KeyUsage>OTP</KeyUsage></Policy>";
    let pin = "<Data><Secret><PlainValue>MTIzNA==</PlainValue></Secret></Data>";
    let text = container(&format!(
        "{}{}{}{}",
        package("T1", "T1-hotp", "hotp", &data(policy)),
        package("T1", "p1", "pin", pin),
        package("T1", "T1-totp", "totp", &data("")),
        package("T2", "k", "hotp", &data(""))
    ));
    let all = read(&text, Unlock::Plain).unwrap();
    let serials: Vec<_> = all.iter().map(|token| token.as_ref().unwrap().serial.as_str()).collect();
    assert_eq!(serials, ["T1", "T1/T1-totp", "T2"]);
    // The very key again is none.
    let twice = container(&package("T1", "k", "hotp", &data("")).repeat(3));
    let judged = judge(twice.as_bytes(), &ImportOptions::default(), &mut |_| ()).unwrap();
    assert_eq!((judged.count, judged.faults.len()), (1, 2));
}

#[test]
fn hazard_117_a_right_key_is_not_called_wrong() {
    let inner = format!("{FORMAT}<Data>{}</Data>", encrypted("Secret", SEED));
    let method = |algorithm: &str, value: &str| {
        format!(
            "<EncryptionKey/><MACMethod Algorithm=\"hmac-sha1\"><MACKey><EncryptionMethod Algorithm=\"{algorithm}\"/><CipherData>\
             <CipherValue>{value}</CipherValue></CipherData></MACKey></MACMethod>"
        )
    };
    let whole = |head: &str, inner: &str| {
        only(&container(&format!("{head}{}", package("T1", "k1", "hotp", inner))), key()).unwrap_err()
    };
    let triple = "http://www.w3.org/2001/04/xmlenc#tripledes-cbc";
    let refused = whole(&method(triple, "AAAA"), &inner);
    assert!(
        refused.contains("MACKey") && refused.contains(triple) && !refused.contains("is not the file's"),
        "{refused}"
    );
    let refused = whole(&method("#aes256-cbc", &STANDARD.encode([0; 48])), &inner);
    assert!(refused.contains("under a key of 32 bytes"), "{refused}");
    let refused = whole(&method("#aes128-cbc", "!"), &inner);
    assert!(refused.contains("MACKey") && refused.contains("base64"), "{refused}");
    let refused = whole("<EncryptionKey/>", &inner.replace("aes128-cbc", "tripledes-cbc"));
    assert!(refused.contains("secret is encrypted by an algorithm") && refused.contains("tripledes-cbc"), "{refused}");
    let refused = whole("<EncryptionKey/><MACMethod Algorithm=\"hmac-md5\"/>", &inner);
    assert!(refused.contains("MACMethod") && refused.contains("hmac-md5"), "{refused}");
}

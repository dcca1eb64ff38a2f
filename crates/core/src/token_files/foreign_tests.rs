//! Files that are not what they should be, and forms that a maker may use.

use crate::mfa::FactorDetail;
use crate::secret::SecretBytes;
use crate::token_files::{Format, ImportOptions, ReadToken, Unlock, judge, tokens};

const SEED: &str = "3132333435363738393031323334353637383930";
const SEED_BASE32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const KEY: &str = "a47c5bf9c152202f577be6721c0113af";
const FORMATS: [Option<Format>; 7] = [
    None,
    Some(Format::Pskc),
    Some(Format::OathCsv),
    Some(Format::YubicoCsv),
    Some(Format::YkpersLog),
    Some(Format::Otpauth),
    Some(Format::EntraCsv),
];

/// All that is told of a file, on the terminal and in a report.
fn told(text: &str, format: Option<Format>) -> String {
    let unlocks = [Unlock::Plain, Unlock::Key(SecretBytes::new(vec![1; 16]))];
    let each = unlocks.into_iter().map(|unlock| {
        let options = ImportOptions { format, unlock, ..ImportOptions::default() };
        match judge(text.as_bytes(), &options, &mut |_| ()) {
            Ok(judged) => format!("{:?}", judged.faults),
            Err(fault) => fault.to_string(),
        }
    });
    each.collect()
}

/// Secrets in the wrong place, with the wrong separators, in too many values or too few, behind quotes that don't close.
#[test]
fn hazard_111_no_fault_repeats_a_line_that_was_not_understood() {
    let secrets = [SEED, SEED_BASE32, KEY];
    for secret in secrets {
        for line in [
            format!("A1;{secret};totp;6;30"),
            format!("A1\t{secret}\ttotp\t6\t30"),
            format!("A1|{secret}"),
            format!("A1 {secret} hotp"),
            secret.to_owned(),
            format!("{secret},A1,totp,6,30"),
            format!("{secret},12345678901234567890,hotp,6,0"),
            format!("{secret},{secret},motp,6,0"),
            format!("totp,6,30,A1,{secret}"),
            format!("A1,{secret},totp,6,30,SHA1,more,and,more"),
            format!("\"A1,{secret},totp,6,30"),
            format!("\"{secret}"),
            format!("A1,\"{secret}\"x\",hotp"),
            format!("serial;seed\nA1;{secret}"),
            format!("seed,serial,type\n{secret},A1,hotp"),
            format!("4711;vvvvvvvvvvcb;010203040506;{secret};;2024;"),
            format!("{secret},vvvvvvvvvvcb,010203040506,4711,,2024,"),
            format!("4711,{secret},010203040506,{KEY},,2024,"),
            format!("4711,vvvvvvvvvvcb,{secret},00,,2024,"),
            format!("Yubico OTP,12/11/2013 11:10,1,{secret},ab86c04de6a3,vvgutbiedkvi"),
            format!("Yubico OTP,{secret}"),
            format!("OATH-HOTP,11.12.13 18:55,1,{secret},,xx"),
            format!("Static Password,11.12.13 19:08,1,{secret},d5a3d50327dc,{secret}"),
            format!("otpauth://totp/{secret}?period=30"),
            format!("otpauth://totp/ann?secret={secret}&secret={secret}"),
            format!("otpauth://totp/ann?geheim={secret}"),
            format!("otpauth://motp/{secret}?secret={secret}"),
            format!("otpauth:{secret}"),
            format!("upn,serial number,secret key,time interval\nann,{secret},1234567,60"),
            format!("upn,serial number,secret key,time interval\nann;1234567;{secret};60"),
            format!("upn,serial number,secret key,time interval,manufacturer,model\nann,{secret},{secret},forty,A,B"),
            format!("<KeyContainer><KeyPackage><{secret}></KeyPackage></KeyContainer>"),
            format!("<KeyContainer><KeyPackage>&{secret};</KeyPackage></KeyContainer>"),
            format!("<KeyContainer><KeyPackage {secret}=></KeyPackage></KeyContainer>"),
            format!(
                "<KeyContainer><KeyPackage><Key Algorithm=\"hotp\"><Data><Secret><PlainValue>{secret}!</PlainValue></Secret></Data></Key>\
                 </KeyPackage></KeyContainer>"
            ),
            format!(
                "<KeyContainer><KeyPackage><Key Algorithm=\"hotp\"><Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue>\
                 </Secret><Counter><PlainValue>{secret}x</PlainValue></Counter></Data><Policy><KeyUsage>{secret}</KeyUsage></Policy></Key>\
                 </KeyPackage></KeyContainer>"
            ),
        ] {
            for format in FORMATS {
                let told = told(&line, format);
                for part in [secret, &secret[..16]] {
                    assert!(!told.contains(part), "{line:?} as {format:?}: {told}");
                }
            }
        }
    }
}

#[test]
fn hazard_117_a_line_of_one_value_is_told_so() {
    let told = told(&format!("A1;{SEED};totp;6;30"), Some(Format::OathCsv));
    assert!(told.contains("line: 1") && told.contains("one value; values are parted by commas"), "{told}");
}

#[test]
fn hazard_117_a_file_without_tokens_is_told_what_it_lacks() {
    let pskc = "<KeyContainer Version=\"1.0\"></KeyContainer>";
    for (text, named) in [
        (pskc, "no KeyPackage"),
        ("# nothing\n\n", "format can't be told"),
        (&format!("helga@contoso.com,1234567,{SEED_BASE32},30,Contoso,HardwareKey"), "format can't be told"),
    ] {
        assert!(told(text, None).contains(named), "{text}: {}", told(text, None));
    }
    assert!(told("# nothing\n\n", Some(Format::OathCsv)).contains("comments"));
}

fn only(text: &str) -> Result<ReadToken, String> {
    let mut all: Vec<_> = tokens(text.as_bytes(), &ImportOptions::default()).map_err(|fault| fault.0)?.collect();
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0).map_err(|fault| fault.reason)
}

#[test]
fn hazard_114_every_parameter_of_an_otpauth_uri_is_percent_decoded() {
    for query in [
        "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGE%3D%3D%3D%3D%3D%3D&issuer=Ex",
        "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGE======&issuer=Ex",
        "%73ecret=%47EZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGE",
        "SECRET=gezd%20gnbv%20gy3t%20qojq%20gezd%20gnbv%20gy3t%20qojq%20ge&image=https%3A%2F%2Fe.example%2F%ff",
    ] {
        let token = only(&format!("otpauth://totp/Ex:a?{query}")).unwrap();
        assert_eq!(
            (token.serial.as_str(), token.secret.expose()),
            ("Ex:a", b"123456789012345678901".as_slice()),
            "{query}"
        );
    }
    let whole = format!(
        "OTPAUTH://TOTP/Acme%20Co%3aann?secret={SEED_BASE32}&%61lgorithm=SHA%32%35%36&digits=%38&per%69od=%36%30"
    );
    let FactorDetail::Totp(state) = only(&whole).unwrap().detail else { panic!("it is a TOTP") };
    assert_eq!((state.hash.name(), state.digits, state.step_seconds), ("SHA256", 8, 60));
    let counted = only(&format!("otpauth://hotp/a?secret={SEED_BASE32}&counter=%34%32")).unwrap();
    assert!(matches!(&counted.detail, FactorDetail::Hotp(state) if state.next_counter == 42));
    for (query, named) in [
        (format!("secret={SEED_BASE32}&period=%ff"), "period"),
        (format!("secret={SEED_BASE32}&period=3&%70eriod=30"), "period is given twice"),
        (format!("secret={SEED_BASE32}&digits=six"), "digits"),
    ] {
        let refused = only(&format!("otpauth://totp/a?{query}")).unwrap_err();
        assert!(refused.contains(named), "{query}: {refused}");
    }
}

#[test]
fn hazard_114_the_list_that_entra_id_takes_is_read_in_whatever_order() {
    for text in [
        format!(
            "upn,serial number,secret key,time interval,manufacturer,model\r\nhelga@contoso.com,1234567,{SEED_BASE32},60,Contoso,HardwareKey\r\n"
        ),
        format!(
            "\u{feff}Serial Number,Secret Key,UPN,Time Interval,Manufacturer,Model\n1234567,{SEED_BASE32},,60,Contoso,HardwareKey"
        ),
        format!(
            "\"upn\",\"serial number\",\"secret key\",\"time interval\",\"manufacturer\",\"model\"\n\"a\",\"1234567\",\"{SEED_BASE32}\",\"60\",\"Contoso\",\"HardwareKey\""
        ),
    ] {
        let token = only(&text).unwrap();
        assert_eq!((token.serial.as_str(), token.model.as_deref()), ("1234567", Some("Contoso HardwareKey")), "{text}");
        assert!(matches!(&token.detail, FactorDetail::Totp(state) if state.step_seconds == 60 && state.digits == 6));
        assert_eq!(token.secret.expose(), b"12345678901234567890");
    }
    let refused =
        only(&format!("upn,serial number,secret key,time interval,manufacturer,model\na,1234567,{SEED_BASE32},60,B"));
    assert!(refused.unwrap_err().contains("6 values"));
}

#[test]
fn hazard_114_a_byte_order_mark_is_no_content_in_any_format() {
    for text in [
        format!("A1,{SEED},hotp,6,0"),
        format!("4713,vvvvvvvvvvcb,010203040506,{KEY},,2024,"),
        format!("otpauth://totp/A1?secret={SEED_BASE32}"),
    ] {
        let [with, without] = [format!("\u{feff}{text}\r\n"), text].map(|text| only(&text).unwrap().serial);
        assert_eq!(with, without);
    }
}

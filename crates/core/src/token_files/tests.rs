//! The figures of RFC 6030, and files as their makers write them.

use super::*;

const SECRET: &[u8] = b"12345678901234567890";

/// RFC 6030 figure 6: AES-128-CBC under a key that was agreed upon.
const PRE_SHARED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"
    xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">
  <EncryptionKey><ds:KeyName>Pre-shared-key</ds:KeyName></EncryptionKey>
  <MACMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1">
    <MACKey>
      <xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>
      <xenc:CipherData><xenc:CipherValue>
        ESIzRFVmd4iZABEiM0RVZgKn6WjLaTC1sbeBMSvIhRejN9vJa2BOlSaMrR7I5wSX
      </xenc:CipherValue></xenc:CipherData>
    </MACKey>
  </MACMethod>
  <KeyPackage>
    <DeviceInfo><Manufacturer>Manufacturer</Manufacturer><SerialNo>987654321</SerialNo></DeviceInfo>
    <CryptoModuleInfo><Id>CM_ID_001</Id></CryptoModuleInfo>
    <Key Id="12345678" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp">
      <Issuer>Issuer</Issuer>
      <AlgorithmParameters><ResponseFormat Length="8" Encoding="DECIMAL"/></AlgorithmParameters>
      <Data>
        <Secret>
          <EncryptedValue>
            <xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>
            <xenc:CipherData><xenc:CipherValue>
              AAECAwQFBgcICQoLDA0OD+cIHItlB3Wra1DUpxVvOx2lef1VmNPCMl8jwZqIUqGv
            </xenc:CipherValue></xenc:CipherData>
          </EncryptedValue>
          <ValueMAC>Su+NvtQfmvfJzF6bmQiJqoLRExc=
          </ValueMAC>
        </Secret>
        <Counter><PlainValue>0</PlainValue></Counter>
      </Data>
    </Key>
  </KeyPackage>
</KeyContainer>"#;

/// RFC 6030 figure 7: a key that is derived from the password `qwerty`.
const DERIVED: &str = r##"<?xml version="1.0" encoding="UTF-8"?>
<pskc:KeyContainer xmlns:pskc="urn:ietf:params:xml:ns:keyprov:pskc" xmlns:xenc11="http://www.w3.org/2009/xmlenc11#"
    xmlns:pkcs5="http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#"
    xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Version="1.0">
  <pskc:EncryptionKey>
    <xenc11:DerivedKey>
      <xenc11:KeyDerivationMethod Algorithm="http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2">
        <pkcs5:PBKDF2-params>
          <Salt><Specified>Ej7/PEpyEpw=</Specified></Salt>
          <IterationCount>1000</IterationCount><KeyLength>16</KeyLength><PRF/>
        </pkcs5:PBKDF2-params>
      </xenc11:KeyDerivationMethod>
      <xenc:ReferenceList><xenc:DataReference URI="#ED"/></xenc:ReferenceList>
      <xenc11:MasterKeyName>My Password 1</xenc11:MasterKeyName>
    </xenc11:DerivedKey>
  </pskc:EncryptionKey>
  <pskc:MACMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1">
    <pskc:MACKey>
      <xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>
      <xenc:CipherData><xenc:CipherValue>
        2GTTnLwM3I4e5IO5FkufoOEiOhNj91fhKRQBtBJYluUDsPOLTfUvoU2dStyOwYZx
      </xenc:CipherValue></xenc:CipherData>
    </pskc:MACKey>
  </pskc:MACMethod>
  <pskc:KeyPackage>
    <pskc:DeviceInfo><pskc:Manufacturer>TokenVendorAcme</pskc:Manufacturer><pskc:SerialNo>987654321</pskc:SerialNo></pskc:DeviceInfo>
    <pskc:Key Id="123456" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp">
      <pskc:AlgorithmParameters><pskc:ResponseFormat Length="8" Encoding="DECIMAL"/></pskc:AlgorithmParameters>
      <pskc:Data><pskc:Secret>
        <pskc:EncryptedValue Id="ED">
          <xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>
          <xenc:CipherData><xenc:CipherValue>
            oTvo+S22nsmS2Z/RtcoF8Hfh+jzMe0RkiafpoDpnoZTjPYZu6V+A4aEn032yCr4f
          </xenc:CipherValue></xenc:CipherData>
        </pskc:EncryptedValue>
        <pskc:ValueMAC>LP6xMvjtypbfT9PdkJhBZ+D6O4w=</pskc:ValueMAC>
      </pskc:Secret></pskc:Data>
    </pskc:Key>
  </pskc:KeyPackage>
</pskc:KeyContainer>"##;

fn plain(key: &str) -> String {
    format!(
        "<KeyContainer Version=\"1.0\" xmlns=\"urn:ietf:params:xml:ns:keyprov:pskc\">\n<KeyPackage>\n<DeviceInfo>\
         <SerialNo>S&amp;1</SerialNo></DeviceInfo>\n{key}</KeyPackage>\n</KeyContainer>"
    )
}

fn read(text: &str, unlock: Unlock) -> Result<Vec<Result<ReadToken, LineFault>>, FileFault> {
    let options = ImportOptions { unlock, ..ImportOptions::default() };
    tokens(text.as_bytes(), &options).map(Iterator::collect)
}

fn only(text: &str, unlock: Unlock) -> Result<ReadToken, String> {
    let mut all = read(text, unlock).map_err(|fault| fault.0)?;
    assert_eq!(all.len(), 1);
    all.remove(0).map_err(|fault| fault.reason)
}

fn hex(text: &str) -> SecretBytes {
    SecretBytes::from_hex(text).unwrap()
}

fn shared_key() -> Unlock {
    Unlock::Key(hex("12345678901234567890123456789012"))
}

#[test]
fn reads_the_figures_of_rfc_6030() {
    let password = Unlock::Password(SecretText::new("qwerty".to_owned()));
    for (text, unlock) in [(PRE_SHARED, shared_key()), (DERIVED, password)] {
        let token = only(text, unlock).unwrap();
        assert_eq!((token.serial.as_str(), token.secret.expose()), ("987654321", SECRET));
        let FactorDetail::Hotp(state) = &token.detail else { panic!("it is a HOTP") };
        assert_eq!((state.hash, state.digits, state.next_counter), (OtpHash::Sha1, 8, 0));
    }
}

#[test]
fn a_wrong_key_a_wrong_mac_and_a_changed_secret_are_hard_errors() {
    let other_key = Unlock::Key(hex("12345678901234567890123456789013"));
    assert!(only(PRE_SHARED, other_key).unwrap_err().contains("key"));
    let wrong = Unlock::Password(SecretText::new("qwertz".to_owned()));
    assert!(only(DERIVED, wrong).unwrap_err().contains("password"));
    for (found, put) in [("Su+Nvt", "Su+Nvu"), ("AAECAwQF", "AAECAwQG"), ("IUqGv", "IUqGw")] {
        let changed = PRE_SHARED.replace(found, put);
        assert!(only(&changed, shared_key()).unwrap_err().contains("MAC is wrong"), "{put}");
    }
    let start = PRE_SHARED.find("<ValueMAC>").unwrap();
    let end = PRE_SHARED.find("</ValueMAC>").unwrap() + "</ValueMAC>".len();
    let without = format!("{}{}", &PRE_SHARED[..start], &PRE_SHARED[end..]);
    assert!(only(&without, shared_key()).unwrap_err().contains("no MAC"));
    assert!(only(PRE_SHARED, Unlock::Plain).unwrap_err().contains("--key-stdin"));
    assert!(only(DERIVED, Unlock::Plain).unwrap_err().contains("--password-stdin"));
}

/// Whoever can change a file must not get a secret of their own past its MAC by leaving the encryption away.
#[test]
fn a_plain_secret_among_encrypted_ones_is_refused() {
    let start = PRE_SHARED.find("<EncryptedValue>").unwrap();
    let end = PRE_SHARED.find("</ValueMAC>").unwrap() + "</ValueMAC>".len();
    let planted = "<PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue>";
    let changed = format!("{}{planted}{}", &PRE_SHARED[..start], &PRE_SHARED[end..]);
    assert!(only(&changed, shared_key()).unwrap_err().contains("not encrypted"));
    let whole = plain(&format!("<Key Id=\"1\" Algorithm=\"hotp\"><Data><Secret>{planted}</Secret></Data></Key>"));
    assert!(only(&whole, Unlock::Plain).is_ok());
    let password = Unlock::Password(SecretText::new("qwerty".to_owned()));
    for unlock in [shared_key(), password] {
        assert!(only(&whole, unlock).unwrap_err().contains("not encrypted"), "a key is given");
    }
    let line = "S1,3132333435363738393031323334353637383930,hotp,6,0";
    assert!(only(line, Unlock::Plain).is_ok());
    assert!(only(line, shared_key()).unwrap_err().contains("only PSKC"));
}

#[test]
fn a_model_or_a_fault_holds_nothing_that_a_terminal_obeys() {
    let key = "<Key Id=\"1\" Algorithm=\"hotp\"><Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue>\
               </Secret></Data></Key>";
    let text = plain(key).replace("<SerialNo>", "<Manufacturer>A&#10;&#27;[31mB </Manufacturer><SerialNo>");
    assert_eq!(only(&text, Unlock::Plain).unwrap().model.as_deref(), Some("A[31mB"));
    let text = plain(key).replace("S&amp;1", "S&#27;[31m1");
    let fault = read(&text, Unlock::Plain).unwrap().remove(0).unwrap_err();
    assert_eq!(fault.serial.as_deref(), Some("S[31m1"), "nor does the report of a faulty one");
}

#[test]
fn the_hash_the_digits_and_the_step_come_from_the_file() {
    let key = |suite: &str, step: &str| {
        plain(&format!(
            "<Key Id=\"1\" Algorithm=\"urn:ietf:params:xml:ns:keyprov:pskc:totp\"><AlgorithmParameters>{suite}\
             <ResponseFormat Length=\"6\" Encoding=\"DECIMAL\"/></AlgorithmParameters><Data><Secret><PlainValue>\
             MTIzNDU2Nzg5MDEy\nMzQ1Njc4OTA=</PlainValue></Secret>{step}</Data></Key>"
        ))
    };
    let step = "<TimeInterval><PlainValue>60</PlainValue></TimeInterval>";
    for (suite, hash) in [
        ("", OtpHash::Sha1),
        ("<Suite>HMAC-SHA256</Suite>", OtpHash::Sha256),
        ("<Suite>SHA-512</Suite>", OtpHash::Sha512),
    ] {
        let token = only(&key(suite, step), Unlock::Plain).unwrap();
        let FactorDetail::Totp(state) = &token.detail else { panic!("it is a TOTP") };
        assert_eq!((state.hash, state.step_seconds, token.serial.as_str(), token.line), (hash, 60, "S&1", 2));
        assert_eq!(token.secret.expose(), SECRET);
    }
    assert!(only(&key("<Suite>MD5</Suite>", step), Unlock::Plain).unwrap_err().contains("hash"));
    assert!(only(&key("", &step.replace("60", "45")), Unlock::Plain).unwrap_err().contains("30 or 60"));
}

#[test]
fn what_is_no_container_is_refused_whole_and_never_panics() {
    for text in [
        "<a/>",
        "<a><b></a>",
        "<KeyContainer>",
        "<!DOCTYPE a [<!ENTITY x \"y\">]><KeyContainer/>",
        "<KeyContainer><Key",
    ] {
        let read = read(text, Unlock::Plain);
        assert!(read.is_err() || read.unwrap().iter().all(Result::is_err), "{text}");
    }
    let deep = plain(&"<x>".repeat(100));
    assert!(read(&deep, Unlock::Plain).is_err());
    let entity = plain("<Key Algorithm=\"hotp\"><Data>&file;</Data></Key>");
    assert!(read(&entity, Unlock::Plain).is_err());
}

#[test]
fn oath_csv_is_read_with_its_defaults() {
    let seed = "3132333435363738393031323334353637383930";
    let text = format!(
        "serial,seed,type,digits,counter\n# two\nA1,{seed},hotp,6,7\r\nA2,{seed},TOTP,8,60,SHA256\n\nA3,{seed}\n"
    );

    let options = ImportOptions { format: Some(Format::OathCsv), ..ImportOptions::default() };
    let all: Vec<_> = tokens(text.as_bytes(), &options).unwrap().map(Result::unwrap).collect();
    let lines: Vec<_> = all.iter().map(|token| (token.line, token.serial.as_str())).collect();
    assert_eq!(lines, [(3, "A1"), (4, "A2"), (6, "A3")]);
    assert!(matches!(&all[0].detail, FactorDetail::Hotp(state) if state.next_counter == 7 && state.digits == 6));
    assert!(
        matches!(&all[1].detail, FactorDetail::Totp(state) if state.hash == OtpHash::Sha256 && state.step_seconds == 60)
    );
    assert!(matches!(&all[2].detail, FactorDetail::Hotp(state) if state.next_counter == 0));
    for bad in [
        "B,zz,hotp,6,0",
        "B,3132,hotp,6,0",
        &format!("B,{seed},hotp,7,0"),
        &format!("B,{seed},totp,6,31"),
        &format!(",{seed},hotp,6,0"),
        &format!("B,{seed},motp,6,0"),
    ] {
        assert!(tokens(bad.as_bytes(), &options).unwrap().all(|token| token.is_err()), "{bad}");
    }
}

#[test]
fn yubicos_files_are_told_by_how_they_begin() {
    let csv = "508326,cccccccccccc,83cebdfb7b93,a47c5bf9c152202f577be6721c0113af,,2013-12-12T08:43:17,\n\
               508327,,0,69cfb9202438ca68964ec3244bfa4843d073a43b,,2013-12-12T08:41:07,\n\
               508328,,,9e2fd386224a7f77e9b5aee775464033,,2013-12-12T08:44:34,\n";
    let all = read(csv, Unlock::Plain).unwrap();
    let key = all[0].as_ref().unwrap();
    assert!(
        matches!(&key.detail, FactorDetail::YubicoOtp(state) if state.public_id == "cccccccccccc" && state.private_id[0] == 0x83)
    );
    assert_eq!(all[1].as_ref().unwrap().serial, "508327/hotp");
    assert!(all[2].as_ref().unwrap_err().reason.contains("static password"));
    let log = "LOGGING START,12.12.2013 11:10\n\
               Yubico OTP,12/11/2013 11:10,1,vvgutbiedkvi,ab86c04de6a3,d26a7c0f85fdda28bd816e406342b214,,,0,0,0,0,0,0,0,0,0,0\n\
               OATH-HOTP,11.12.13 18:55,1,cccccccccccc,,916821d3a138bf855e70069605559a206ba854cd,,,0,0,0,8,0,0,0,0,0,0\n\
               Static Password,11.12.13 19:08,1,,d5a3d50327dc,0e8e37b0e38b314a56748c030f58d21d,,,0,0,0,0,0,0,0,0,0,0\n";
    let all = read(log, Unlock::Plain).unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].as_ref().unwrap().serial, "vvgutbiedkvi");
    assert!(matches!(&all[1].as_ref().unwrap().detail, FactorDetail::Hotp(state) if state.digits == 8));
    assert!(all[2].is_err());
}

#[test]
fn otpauth_uris_are_named_by_their_label() {
    let text = "otpauth://totp/Acme%20Co:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme&algorithm=SHA512&digits=8&period=60\n\
                otpauth://hotp/bob?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=4\n\
                otpauth://totp/eve?issuer=x\n";
    let all = read(text, Unlock::Plain).unwrap();
    let totp = all[0].as_ref().unwrap();
    assert_eq!((totp.serial.as_str(), totp.secret.expose()), ("Acme Co:ann", SECRET));
    assert!(
        matches!(&totp.detail, FactorDetail::Totp(state) if state.hash == OtpHash::Sha512 && state.step_seconds == 60)
    );
    assert!(matches!(&all[1].as_ref().unwrap().detail, FactorDetail::Hotp(state) if state.next_counter == 4));
    assert!(all[2].is_err());
    assert!(read("what is this", Unlock::Plain).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, cut in 0..PRE_SHARED.len()) {
        for format in [None, Some(Format::Pskc), Some(Format::OathCsv), Some(Format::YkpersLog), Some(Format::Otpauth)] {
            let options = ImportOptions { format, unlock: shared_key(), ..ImportOptions::default() };
            if let Ok(all) = tokens(&bytes, &options) {
                all.for_each(drop);
            }
            if let Ok(all) = tokens(&PRE_SHARED.as_bytes()[..cut], &options) {
                all.for_each(drop);
            }
        }
    }
}

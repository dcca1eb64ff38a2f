//! What restricts a key (RFC 6030 §4.1, §5): it is honoured, or the key is refused by the name of what it has. "A recipient that doesn't
//! understand a policy MUST assume that key usage is not permitted" (§5).

use crate::mfa::Validity;
use crate::token_files::xml::Element;
use signet_jose::clock::Timestamp;

/// The usages that RFC 6030 §5 names.
const USAGES: [&str; 11] =
    ["OTP", "CR", "Encrypt", "Integrity", "Verify", "Unlock", "Decrypt", "KeyWrap", "Unwrap", "Derive", "Generate"];

/// Judges what restricts a key.
/// Returns: from when to when it may be used.
/// Errors: what can't be honoured, by its name.
pub(super) fn judge(package: &Element<'_>, key: &Element<'_>) -> Result<Validity, String> {
    let mut validity = Validity::default();
    for place in ["DeviceInfo", "CryptoModuleInfo"] {
        dates(package.at(&[place]), &mut validity)?;
    }
    for policy in key.all("Policy") {
        if let Some((name, _)) = policy.attributes().next() {
            return Err(unknown("Policy", name));
        }
        dates(Some(policy), &mut validity)?;
        for element in policy.children() {
            match element.name.as_str() {
                "StartDate" | "ExpiryDate" => {}
                "PINPolicy" => pin_policy(element)?,
                "KeyUsage" => {}
                "NumberOfTransactions" => {
                    return Err("its Policy limits the NumberOfTransactions, which are not counted here".to_owned());
                }
                other => return Err(unknown("Policy", other)),
            }
        }
        usage(policy)?;
    }
    if validity.from.zip(validity.until).is_some_and(|(from, until)| until <= from) {
        return Err("its ExpiryDate is not after its StartDate".to_owned());
    }
    Ok(validity)
}

/// Narrows what is valid by the dates of an element.
fn dates(element: Option<&Element<'_>>, validity: &mut Validity) -> Result<(), String> {
    let Some(element) = element else { return Ok(()) };
    for start in element.all("StartDate") {
        let start = moment(start)?;
        validity.from = Some(validity.from.map_or(start, |from| from.max(start)));
    }
    for expiry in element.all("ExpiryDate") {
        let expiry = moment(expiry)?;
        validity.until = Some(validity.until.map_or(expiry, |until| until.min(expiry)));
    }
    Ok(())
}

/// An `xs:dateTime`. One that names no zone is in UTC, in which RFC 6030 has all of them.
fn moment(element: &Element<'_>) -> Result<Timestamp, String> {
    let text = element.text();
    let in_zone = text.parse::<jiff::Timestamp>().ok();
    let moment = in_zone.or_else(|| {
        text.parse::<jiff::civil::DateTime>()
            .ok()
            .filter(|_| text.contains('T'))?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    });
    let moment = moment.map(|moment| Timestamp::from_unix_millis(moment.as_millisecond()));
    moment.ok_or_else(|| format!("its {} is no date and time", element.name))
}

fn usage(policy: &Element<'_>) -> Result<(), String> {
    let mut usages = Vec::new();
    for usage in policy.all("KeyUsage") {
        let text = usage.text();
        let known = USAGES.into_iter().find(|known| *known == text.as_str());
        usages.push(known.ok_or("its Policy has a KeyUsage that is not known")?);
    }
    if usages.is_empty() || usages.contains(&"OTP") {
        Ok(())
    } else {
        Err(format!("its Policy does not allow one-time passwords: its KeyUsage is {}", usages.join(", ")))
    }
}

/// A PIN that the device itself asks for is its own matter; one that goes into the code, or that the server must ask for, is not.
fn pin_policy(policy: &Element<'_>) -> Result<(), String> {
    let mut usage = None;
    for (name, value) in policy.attributes() {
        match name {
            "PINUsageMode" => usage = Some(value.trim()),
            "PINKeyId" | "MaxFailedAttempts" | "MinLength" | "MaxLength" | "PINEncoding" => {}
            other => return Err(unknown("PINPolicy", other)),
        }
    }
    if let Some(child) = policy.children().first() {
        return Err(unknown("PINPolicy", &child.name));
    }
    match usage {
        Some("Local") => Ok(()),
        Some(mode @ ("Prepend" | "Append" | "Algorithmic")) => {
            Err(format!("its PINPolicy has the PIN go into the code (PINUsageMode {mode}), which is not verified here"))
        }
        _ => {
            Err("its PINPolicy has no PINUsageMode that is known: `Local`, where the device asks for the PIN"
                .to_owned())
        }
    }
}

/// Something that nobody here knows what to make of, by its name where that looks like one.
pub(super) fn unknown(of: &str, name: &str) -> String {
    let is_name =
        name.len() <= 64 && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
    let name = if is_name { name } else { "something" };
    format!("its {of} has {name}, which is not known here: a key is not used beyond what its policy allows")
}

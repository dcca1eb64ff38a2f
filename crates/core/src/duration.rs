//! Durations as people write them: one whole number and a unit, e.g. `"500ms"`, `"10s"`, `"5m"`, `"1h"`, `"30d"`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration; `None` for a text of another form, or one that overflows.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

/// Writes a duration in its largest whole unit.
pub fn text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let whole = UNITS.into_iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(u128::from(*unit)));
    whole.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / u128::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_each_unit() {
        for (written, seconds) in [("10s", 10), ("5m", 300), ("1h", 3600), ("30d", 2_592_000), ("0s", 0)] {
            assert_eq!(parse(written), Some(Duration::from_secs(seconds)));
            assert_eq!(text(Duration::from_secs(seconds)), written);
        }
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(text(Duration::from_millis(1500)), "1500ms");
    }

    #[test]
    fn refuses_other_forms() {
        for written in
            ["", "5", "m", "5 m", "-5m", "+5m", "1.5h", "5M", "1h30m", "99999999999999999999s", "9999999999999999d"]
        {
            assert_eq!(parse(written), None, "{written}");
        }
    }
}

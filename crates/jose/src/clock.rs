//! Time as an argument: every decision that depends on the time is handed a [`Clock`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const MILLIS_OF_DAY: i64 = 86_400_000;

/// A moment, in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// Tokens carry whole seconds (RFC 7519 `NumericDate`); audit records carry milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment from milliseconds since the epoch.
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// A moment from seconds since the epoch, as `exp` and `iat` carry it.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The moment `duration` later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// The moment `duration` earlier.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Its day in UTC, e.g. `2026-01-31`.
    pub fn day(self) -> String {
        self.to_string().split('T').next().unwrap_or_default().to_owned()
    }

    /// How long after `earlier` this is; zero where the clock went back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with milliseconds, e.g. `2026-01-31T08:15:00.250Z`; outside the years 0 to 9999, which RFC 3339 can't
/// write, the bare milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_date(self.0.div_euclid(MILLIS_OF_DAY));
        if !(0..=9999).contains(&year) {
            return write!(formatter, "{}ms", self.0);
        }
        let millis = self.0.rem_euclid(MILLIS_OF_DAY);
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        let fraction = millis % 1000;
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: `civil_from_days` of Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms". Its years begin in March, so that a leap day is a year's last.
const fn civil_date(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let is_next_year = month >= 10;
    let month = if is_next_year { month - 9 } else { month + 3 };
    (era * 400 + year + is_next_year as i64, month, day)
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The system's clock: the one place that asks it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the ambient clock becomes an argument")]
    fn now(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(elapsed.map_or(0, millis))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn displays_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp::from_unix_millis(1_769_847_300_250).to_string(), "2026-01-31T08:15:00.250Z");
        assert_eq!(Timestamp::from_unix_seconds(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_unix_seconds(951_782_400).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Timestamp::from_unix_seconds(253_402_300_799).to_string(), "9999-12-31T23:59:59.000Z");
        assert_eq!(Timestamp::from_unix_seconds(253_402_300_800).to_string(), "253402300800000ms");
        for millis in [i64::MIN, i64::MAX] {
            assert_eq!(Timestamp::from_unix_millis(millis).to_string(), format!("{millis}ms"));
        }
    }

    proptest! {
        // From 0000-01-01 to 9999-12-30, where jiff's moments end.
        #[test]
        fn displays_what_another_library_does(millis in -62_167_219_200_000..253_402_207_200_000_i64) {
            let theirs = jiff::Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(Timestamp::from_unix_millis(millis).to_string(), format!("{theirs:.3}"));
        }
    }

    #[test]
    fn rounds_down_to_seconds_before_the_epoch_too() {
        assert_eq!(Timestamp::from_unix_millis(-1).unix_seconds(), -1);
    }

    #[test]
    fn a_clock_that_went_back_gives_no_negative_duration() {
        let earlier = Timestamp::from_unix_seconds(10);
        assert_eq!(Timestamp::from_unix_seconds(5).since(earlier), Duration::ZERO);
    }
}

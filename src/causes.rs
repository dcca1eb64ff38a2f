//! An error with its causes, each said once.

/// What went wrong, and why. Some libraries' errors say their cause themselves: it is not said again.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_said_twice() {
        let error = anyhow::anyhow!("no such file").context("a can't be read: no such file").context("b failed");
        assert_eq!(with_causes(&error), "b failed: a can't be read: no such file");
        assert_eq!(with_causes(&anyhow::anyhow!("why").context("what")), "what: why");
    }
}

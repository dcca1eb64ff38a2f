//! What checks found, in words.

use signet_admin_api::diagnosis::{Finding, Findings};

pub(super) fn as_text(findings: &Findings) -> String {
    let mut lines: Vec<String> = findings.findings.iter().map(line).collect();
    let faults = findings.findings.iter().filter(|finding| !finding.ok).count();
    lines.push(match faults {
        0 if findings.ok => "\nSignet would serve.".to_owned(),
        0 => "\nNothing is wrong, and Signet does not serve yet.".to_owned(),
        1 => "\nSignet would NOT serve: 1 fault.".to_owned(),
        many => format!("\nSignet would NOT serve: {many} faults."),
    });
    lines.join("\n")
}

fn line(finding: &Finding) -> String {
    let mark = match (finding.ok, finding.warning) {
        (false, _) => "FAULT",
        (true, true) => "look ",
        (true, false) => "ok   ",
    };
    let advice = finding.advice.as_ref().map_or_else(String::new, |advice| format!("\n       → {advice}"));
    format!("{mark}  {}: {}{advice}", finding.subject, finding.text)
}

//! The figures as they stand in docs/evidence/security-figures.md, and the verdict.

use super::welch::{self, TOLD_APART, compare};

/// Prints the tables, and fails where two ways can be told apart.
pub(super) fn print_and_judge(title: &str, ways: &[(&str, Vec<f64>)]) {
    println!("\n### {title}: {} each\n", ways[0].1.len());
    println!("| way | mean ms | p50 ms | p99 ms |\n|---|---|---|---|");
    for (what, times) in ways {
        let mut sorted = times.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let [mean, median, slow] =
            [welch::mean(times), welch::percentile(&sorted, 0.5), welch::percentile(&sorted, 0.99)].map(|s| s * 1e3);
        println!("| {what} | {mean:.3} | {median:.3} | {slow:.3} |");
    }
    println!("\n| two ways | t of all times | greatest \\|t\\|, cropped | by which share | least delay told, µs |");
    println!("|---|---|---|---|---|");
    let mut told_apart = Vec::new();
    for (place, (one, first)) in ways.iter().enumerate() {
        for (other, second) in &ways[place + 1..] {
            let found = compare(first, second);
            let delay = welch::least_delay_told(first, second) * 1e6;
            println!(
                "| {one}; {other} | {:.2} | {:.2} | {} % | {delay:.0} |",
                found.of_all,
                found.worst.abs(),
                found.cropping * 100.0
            );
            if found.is_told_apart() {
                told_apart.push(format!("{one}; {other}: t = {:.2}", found.worst));
            }
        }
    }
    println!();
    assert!(told_apart.is_empty(), "|t| is {TOLD_APART} or more:\n{}", told_apart.join("\n"));
}

//! The tables at the end.

use std::time::Duration;

use crate::team::Outcome;

/// How each process fared under the lock.
pub(crate) fn waits(outcome: &Outcome) {
    println!();
    println!(
        "{:7}  {:>6}  {:>16}  {:>16}  {:>11}  {:>12}",
        "process", "grants", "first token", "last token", "median wait", "longest wait"
    );
    for (number, grants) in (1..).zip(&outcome.processes) {
        let (Some(first), Some(last)) = (grants.first(), grants.last()) else {
            continue;
        };
        let mut waits: Vec<Duration> = grants.iter().map(|grant| grant.waited).collect();
        waits.sort_unstable();
        let [median, longest] = [waits.len() / 2, waits.len() - 1].map(|at| millis(waits[at]));
        println!(
            "{number:<7}  {:>6}  {:>16}  {:>16}  {median:>11}  {longest:>12}",
            grants.len(),
            first.token,
            last.token,
        );
    }
}

/// What is left of the stock, and what should be.
pub(crate) fn counts(outcomes: &[&Outcome]) {
    println!();
    println!("{:14}  {:>8}  {:>6}", "items left", "expected", "actual");
    for outcome in outcomes {
        let verdict = match outcome.lost() {
            0 => "no update lost".to_owned(),
            lost => format!("{lost} updates lost"),
        };
        println!(
            "{:14}  {:>8}  {:>6}  {verdict}",
            outcome.name, 0, outcome.left
        );
    }
}

fn millis(wait: Duration) -> String {
    format!("{:.1} ms", wait.as_secs_f64() * 1000.0)
}

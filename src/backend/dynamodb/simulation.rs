//! A discrete-event simulation of clients that contend for one exclusive lock on DynamoDB.
//!
//! It runs the crate's own interval clock and validity rule; the rest of the protocol is a sketch of it. What must
//! hold: no two un-paused clients ever both believe that they hold (I3), and nobody is evicted before the expiry that
//! the record shows (I12). An invariant that cannot fail is worth nothing, so each part that is there to keep them is
//! also switched off, and then they must fail.
//!
//! Virtual time and seeded randomness: a run is the same each time. `cargo test -- --nocapture simulation` shows the
//! tables.

use std::ops::RangeInclusive;
use std::time::Duration;

use world::{Outcome, World};

mod client;
mod world;

/// True time since the start, in µs.
type Micros = i64;

const SECOND: Micros = 1_000_000;
const EPOCH_MS: i64 = 1_700_000_000_000;
const SKEW: Duration = Duration::from_millis(500);
const MAX_SKEW: Duration = Duration::from_mins(5);
const RUN: Micros = 60 * SECOND;

/// What is wrong with the world, and how busy it is.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent faults")]
struct Scenario {
    clients: RangeInclusive<usize>,
    ttl: Duration,
    /// A client pauses up to so long between two leases.
    idle: Micros,
    /// How often an acquisition comes from a fresh process, which knows only its wall clock.
    fresh_percent: u32,
    /// How many clients give up when refused and come again as a fresh process; the others wait.
    once_percent: u32,
    /// Otherwise half of the leases are not renewed.
    all_renew: bool,
    /// Each wall clock is off by up to so much, either way, and all are behind by so much.
    wall_error: Micros,
    behind: Micros,
    rate_ppm: i64,
    /// Wall clocks step by an hour.
    steps: bool,
    /// Processes are paused, half of the time with a monotonic clock that stands still.
    freezes: bool,
    /// One `Date` in a hundred is off by 10 s to an hour, but never the first that a process sees.
    bad_dates: bool,
    /// One request and one response in fifty.
    losses: bool,
    crashes: bool,
    /// So much further than `latest + ttl + PAD` an expiry must be before a waiter writes it down.
    clamp_excess: Duration,
}

const SANE: Scenario = Scenario {
    clients: 2..=8,
    ttl: Duration::from_secs(2),
    idle: 4 * SECOND,
    fresh_percent: 80,
    once_percent: 50,
    all_renew: false,
    wall_error: 0,
    behind: 0,
    rate_ppm: 0,
    steps: false,
    freezes: false,
    bad_dates: false,
    losses: false,
    crashes: true,
    clamp_excess: Duration::ZERO,
};
const WALL_1_5_S: Scenario = Scenario {
    wall_error: SECOND * 3 / 2,
    ..SANE
};
const WALL_5_S: Scenario = Scenario {
    wall_error: 5 * SECOND,
    ..SANE
};
const WALL_1_H: Scenario = Scenario {
    wall_error: 3_600 * SECOND,
    ..SANE
};
const BEHIND: Scenario = Scenario {
    behind: 900_000,
    ..SANE
};
const STEPS: Scenario = Scenario {
    steps: true,
    ..SANE
};
const BAD_DATES: Scenario = Scenario {
    bad_dates: true,
    ..SANE
};
/// Long-lived processes that idle a lot, so that many thaw with an estimate from before and find the lock free.
const FREEZES: Scenario = Scenario {
    clients: 2..=3,
    idle: 8 * SECOND,
    fresh_percent: 0,
    once_percent: 0,
    freezes: true,
    ..SANE
};
const EVERYTHING: Scenario = Scenario {
    wall_error: 3_600 * SECOND,
    rate_ppm: 10_000,
    steps: true,
    freezes: true,
    bad_dates: true,
    losses: true,
    ..SANE
};

fn ten_seconds(scenario: Scenario) -> Scenario {
    Scenario {
        ttl: Duration::from_secs(10),
        ..scenario
    }
}

/// What is switched off. None of them is a switch in the crate: each is done around it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
struct Bugs {
    no_validity_rule: bool,
    no_pad: bool,
    /// One sample that contradicts replaces the estimate.
    starts_over: bool,
    /// Wall and monotonic clock seem to agree always.
    blind_to_thaw: bool,
    /// Evicts by the wall clock where there is no verified one.
    unverified_evicts: bool,
}

const NONE: Bugs = Bugs {
    no_validity_rule: false,
    no_pad: false,
    starts_over: false,
    blind_to_thaw: false,
    unverified_evicts: false,
};
const NO_RULE: Bugs = Bugs {
    no_validity_rule: true,
    ..NONE
};
const NO_RULE_NO_PAD: Bugs = Bugs {
    no_pad: true,
    ..NO_RULE
};
const NO_PAD: Bugs = Bugs {
    no_pad: true,
    ..NONE
};
const STARTS_OVER: Bugs = Bugs {
    starts_over: true,
    ..NONE
};
const BLIND: Bugs = Bugs {
    blind_to_thaw: true,
    ..NONE
};
const BLIND_NO_RULE: Bugs = Bugs {
    no_validity_rule: true,
    ..BLIND
};
const UNVERIFIED: Bugs = Bugs {
    unverified_evicts: true,
    ..NONE
};

/// All seeds of one row, and its line in the table.
fn simulate(name: &str, scenario: &Scenario, bugs: Bugs, runs: u64) -> Outcome {
    let mut sum = Outcome::default();
    for seed in 0..runs {
        sum.add(World::new(seed, scenario.clone(), bugs).run(RUN));
    }
    let ttl = scenario.ttl.as_secs();
    let permille = sum.overlaps * 1_000 / sum.leases.max(1);
    println!(
        "{name:<46} {ttl:>3} s {:>6} {:>7} {:>6} {:>6} {:>6} {:>6} {:>3}.{} %",
        sum.leases,
        sum.refreshes,
        sum.evictions,
        sum.clamps,
        sum.early,
        sum.overlaps,
        permille / 10,
        permille % 10,
    );
    sum
}

fn header() {
    println!(
        "\n{:<46} {:>5} {:>6} {:>7} {:>6} {:>6} {:>6} {:>6}",
        "", "ttl", "leases", "refresh", "evict", "clamp", "early", "overlaps"
    );
}

#[test]
fn as_designed_no_two_believe() {
    let rows = [
        ("sane", SANE),
        ("wall ±1.5 s", WALL_1_5_S),
        ("wall ±1.5 s", ten_seconds(WALL_1_5_S)),
        ("wall 0.9 s behind", BEHIND),
        ("wall ±1 h", WALL_1_H),
        ("steps of ±1 h", STEPS),
        (
            "rates ±1 %",
            Scenario {
                rate_ppm: 10_000,
                ..SANE
            },
        ),
        ("freezes", FREEZES),
        ("bad dates", BAD_DATES),
        ("everything", EVERYTHING),
        ("everything", ten_seconds(EVERYTHING)),
    ];
    header();
    for (name, scenario) in rows {
        let outcome = simulate(name, &scenario, NONE, 60);
        assert_eq!(outcome.overlaps, 0, "{name}: two believed that they hold");
        assert_eq!(outcome.early, 0, "{name}: evicted before the expiry");
        assert!(
            outcome.leases > 200 && outcome.evictions > 50,
            "{name}: nothing happened"
        );
        let wrong_walls = scenario.wall_error + scenario.behind > 2 * SECOND || scenario.steps;
        assert!(
            !wrong_walls || outcome.refreshes > 0,
            "{name}: no write was ever off"
        );
    }
}

#[test]
fn what_is_switched_off_is_missed() {
    let rows = [
        (
            "wall ±1.5 s, no PAD, no validity rule",
            WALL_1_5_S,
            NO_RULE_NO_PAD,
        ),
        (
            "wall 0.9 s behind, no PAD, no validity rule",
            BEHIND,
            NO_RULE_NO_PAD,
        ),
        ("wall ±5 s, no validity rule", WALL_5_S, NO_RULE),
        ("wall ±1 h, no validity rule", WALL_1_H, NO_RULE),
        (
            "freezes, stale estimate, no validity rule",
            FREEZES,
            BLIND_NO_RULE,
        ),
        (
            "bad dates, one starts the estimate over",
            BAD_DATES,
            STARTS_OVER,
        ),
        ("steps, evicts on an unverified clock", STEPS, UNVERIFIED),
    ];
    header();
    for (name, scenario, bugs) in rows {
        let outcome = simulate(name, &scenario, bugs, 100);
        assert!(
            outcome.overlaps > 0,
            "{name}: the simulation would not notice"
        );
    }
}

/// The rule needs neither the PAD nor the watch for a thaw to be safe; those save a request, or a lease.
#[test]
fn the_validity_rule_alone_keeps_it_safe() {
    let rows = [
        ("wall ±1.5 s, no PAD", WALL_1_5_S, NO_PAD),
        ("wall ±1.5 s, no validity rule", WALL_1_5_S, NO_RULE),
        ("freezes, stale estimate", FREEZES, BLIND),
        ("freezes, no validity rule", FREEZES, NO_RULE),
    ];
    header();
    for (name, scenario, bugs) in rows {
        let outcome = simulate(name, &scenario, bugs, 60);
        assert_eq!(outcome.overlaps, 0, "{name}");
    }
}

#[test]
fn the_next_grant_after_a_crash_is_bounded() {
    let waiting = Scenario {
        clients: 3..=8,
        once_percent: 0,
        idle: SECOND,
        all_renew: true,
        ..SANE
    };
    let grace = Duration::from_secs(3);
    let rows = [
        ("as designed", waiting.clone()),
        ("as designed", ten_seconds(waiting.clone())),
        (
            "clamped only 3 s beyond",
            Scenario {
                clamp_excess: grace,
                ..waiting.clone()
            },
        ),
        (
            "clamped only 3 s beyond",
            ten_seconds(Scenario {
                clamp_excess: grace,
                ..waiting
            }),
        ),
    ];
    println!(
        "\n{:<24} {:>5} {:>7} {:>11} {:>11}",
        "", "ttl", "crashes", "median", "worst"
    );
    for (name, scenario) in rows {
        let mut sum = Outcome::default();
        for seed in 0..120 {
            sum.add(World::new(seed, scenario.clone(), NONE).run(RUN));
        }
        let mut delays = sum.takeovers;
        delays.sort_unstable();
        let median = delays.get(delays.len() / 2).copied().unwrap_or(Micros::MAX) / 1_000;
        let worst = delays.last().copied().unwrap_or(Micros::MAX) / 1_000;
        let (ttl, crashes) = (scenario.ttl.as_secs(), delays.len());
        println!("{name:<24} {ttl:>3} s {crashes:>7} ttl+{median:>4} ms ttl+{worst:>4} ms");
        assert!(crashes > 50, "{name}: hardly anybody crashed");
        assert!(worst < 7_500, "{name}: {worst} ms beyond the ttl");
    }
}

//! The interval always contains server time, and it is as narrow as it can be.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;

const SKEW: Duration = Duration::from_millis(500);
const MAX_SKEW: Duration = Duration::from_mins(5);
const EPOCH_MS: i64 = 1_700_000_000_000;
/// In µs. No two front ends differ by more than `clock_skew`, so each is within half of it.
const HALF_SKEW: i64 = 250_000;

fn clock() -> IntervalClock {
    IntervalClock::new(SKEW)
}

/// One response: the local clocks at its send and receipt, and its `Date`.
#[derive(Clone, Copy, Debug)]
struct Sample {
    sent: Moment,
    received: Moment,
    date: Timestamp,
}

fn learn(clock: &mut IntervalClock, sample: &Sample) {
    clock.observe(sample.sent, sample.received, sample.date);
}

fn us(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A process's clocks over true time, which runs in µs. Both run at `rate_ppm`.
#[derive(Clone, Copy, Debug, Default)]
struct Local {
    rate_ppm: i64,
    wall_error_ms: i64,
    /// For how long the monotonic clock stood still so far.
    frozen: i64,
}

impl Local {
    fn at(&self, t: i64) -> Moment {
        let drift = |span: i64| span + span * self.rate_ppm / 1_000_000;
        Moment {
            monotonic: us(drift(t - self.frozen) + 7_000_000_000),
            wall: Timestamp::from_millis(
                EPOCH_MS + drift(t).div_euclid(1_000) + self.wall_error_ms,
            ),
        }
    }
}

/// A request: how long after the last one, how long on its way there and back, and to whom.
#[derive(Clone, Copy, Debug)]
struct Trip {
    gap: i64,
    up: i64,
    down: i64,
    front_end: i64,
}

const AT_ONCE: Trip = Trip {
    gap: 0,
    up: 0,
    down: 0,
    front_end: 0,
};

fn trips(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Trip>> {
    let front_end = prop_oneof![Just(-HALF_SKEW), -HALF_SKEW..=HALF_SKEW, Just(HALF_SKEW)];
    let trip = (
        0_i64..5_000_000,
        500_i64..200_000,
        500_i64..200_000,
        front_end,
    );
    let trip = trip.prop_map(|(gap, up, down, front_end)| Trip {
        gap,
        up,
        down,
        front_end,
    });
    prop::collection::vec(trip, count)
}

fn date(server: i64) -> Timestamp {
    Timestamp::from_millis(EPOCH_MS + server.div_euclid(1_000_000) * 1_000)
}

/// One round trip that starts at `t`; the second is when it ends. `lie` is added to the `Date`.
fn round_trip(local: &Local, t: i64, trip: Trip, lie: i64) -> (Sample, i64) {
    let end = t + trip.up + trip.down;
    let sample = Sample {
        sent: local.at(t),
        received: local.at(end),
        date: date(t + trip.up + trip.front_end + lie),
    };
    (sample, end)
}

/// Every front end's clock is within the interval at `t`.
fn contains(interval: Option<Interval>, t: i64) -> TestCaseResult {
    let Some(Interval { earliest, latest }) = interval else {
        return Err(TestCaseError::fail("no interval"));
    };
    let micros = |server: Timestamp| (server.as_millis() - EPOCH_MS) * 1_000;
    for front_end in [-HALF_SKEW, HALF_SKEW] {
        let server = t + front_end;
        prop_assert!(
            micros(earliest) <= server,
            "earliest {earliest:?} is after {server} us"
        );
        prop_assert!(
            server <= micros(latest),
            "latest {latest:?} is before {server} us"
        );
    }
    Ok(())
}

fn width(interval: Option<Interval>) -> Duration {
    interval.map_or(Duration::MAX, |interval| {
        interval.latest.saturating_since(interval.earliest)
    })
}

/// Observes a trip each `gap` µs, five of them, all honest; returns the time of the last receipt.
fn recover(clock: &mut IntervalClock, local: &Local, mut t: i64) -> i64 {
    for _ in 0..5 {
        let trip = Trip {
            gap: 0,
            up: 10_000,
            down: 10_000,
            front_end: 0,
        };
        let (sample, end) = round_trip(local, t + 730_000, trip, 0);
        learn(clock, &sample);
        t = end;
    }
    t
}

proptest! {
    #[test]
    fn server_time_is_always_inside(
        trips in trips(1..12),
        rate_ppm in -15_000_i64..=15_000,
        wall_error_ms in -3_600_000_i64..3_600_000,
        idle in 0_i64..600_000_000,
    ) {
        let local = Local { rate_ppm, wall_error_ms, frozen: 0 };
        let (mut clock, mut t) = (clock(), 700_000_000);
        for trip in trips {
            let start = t + trip.gap;
            let (sample, end) = round_trip(&local, start, trip, 0);
            learn(&mut clock, &sample);
            contains(clock.interval(local.at(end)), end)?;
            contains(clock.interval(local.at(start)), start)?;
            t = end;
        }
        contains(clock.interval(local.at(t + idle)), t + idle)?;
        contains(clock.interval(local.at(t - idle)), t - idle)?;
    }

    /// Two requests at once: the one that was received first may be learned of last.
    #[test]
    fn the_order_of_learning_does_not_matter(
        trips in trips(2..8),
        rate_ppm in -15_000_i64..=15_000,
        shuffle in any::<prop::sample::Index>(),
    ) {
        let local = Local { rate_ppm, ..Local::default() };
        let (mut t, mut samples) = (1_000_000, Vec::new());
        for trip in trips {
            let (sample, end) = round_trip(&local, t, trip, 0);
            samples.push(sample);
            t = end;
        }
        let turn = shuffle.index(samples.len());
        samples.rotate_left(turn);
        let mut clock = clock();
        for sample in samples {
            learn(&mut clock, &sample);
            contains(clock.interval(local.at(t)), t)?;
        }
    }

    #[test]
    fn one_sample_is_as_wide_as_its_round_trip_allows(up in 500_i64..400_000, down in 500_i64..400_000, t in 0_i64..10_000_000) {
        let (mut clock, local) = (clock(), Local::default());
        let (sample, end) = round_trip(&local, t, Trip { gap: 0, up, down, front_end: 0 }, 0);
        learn(&mut clock, &sample);
        // A second for the `Date`, the skew on both sides, the round trip and its drift, rounding.
        let bound = Duration::from_millis(2_000 + 2) + us((up + down) * 65 / 64);
        prop_assert!(width(clock.interval(local.at(end))) <= bound);
    }

    #[test]
    fn samples_across_a_second_narrow_it(phase in 0_i64..1_000_000, rate_ppm in -15_000_i64..=15_000) {
        let local = Local { rate_ppm, ..Local::default() };
        let (mut clock, mut t) = (clock(), 1_000_000 + phase);
        for _ in 0..21 {
            let trip = Trip { gap: 0, up: 1_000, down: 1_000, front_end: 0 };
            let (sample, end) = round_trip(&local, t, trip, 0);
            learn(&mut clock, &sample);
            contains(clock.interval(local.at(end)), end)?;
            t = end + 48_000;
        }
        // Some `Date` was read within 50 ms of the turn of the second: the resolution is gone, the skew stays.
        prop_assert!(width(clock.interval(local.at(t))) <= Duration::from_millis(1_000 + 120));
    }

    /// However far off: the truth stays inside, now, after the next honest `Date`, and for good.
    #[test]
    fn one_bad_date_does_not_start_it_over(
        before in trips(1..6),
        bad in trips(1..2),
        after in trips(1..6),
        lie in prop_oneof![-3_600_000_000_i64..-9_000_000, 9_000_000_i64..3_600_000_000],
    ) {
        let local = Local::default();
        let (mut clock, mut t) = (clock(), 1_000_000);
        let honest = before.len();
        for (i, trip) in before.into_iter().chain(bad).chain(after).enumerate() {
            let lie = if i == honest { lie } else { 0 };
            let (sample, end) = round_trip(&local, t + trip.gap, trip, lie);
            learn(&mut clock, &sample);
            contains(clock.interval(local.at(end)), end)?;
            t = end;
        }
        t = recover(&mut clock, &local, t);
        contains(clock.interval(local.at(t)), t)?;
        prop_assert!(width(clock.interval(local.at(t))) < Duration::from_millis(2_100));
    }

    /// An estimate that was wrong from its first `Date` on is put right by three that agree.
    #[test]
    fn three_that_agree_overrule_the_first(lie in prop_oneof![-3_600_000_000_i64..-9_000_000, 9_000_000_i64..3_600_000_000]) {
        let (mut clock, local) = (clock(), Local::default());
        let trip = Trip { gap: 0, up: 10_000, down: 10_000, front_end: 0 };
        let (sample, end) = round_trip(&local, 1_000_000, trip, lie);
        learn(&mut clock, &sample);
        let t = recover(&mut clock, &local, end);
        contains(clock.interval(local.at(t)), t)?;
        prop_assert!(width(clock.interval(local.at(t))) < Duration::from_millis(2_100));
    }

    /// Freezes and steps that go unnoticed (50 ms and less) do not accumulate. Every sample has the same phase of the
    /// second, the worst one, so that no later sample mends what the first one said.
    #[test]
    fn small_divergences_do_not_accumulate(
        naps in prop::collection::vec(0_i64..49_000, 1..40),
        frozen in any::<bool>(),
    ) {
        let (mut clock, mut local) = (clock(), Local::default());
        let front_end = if frozen { -HALF_SKEW } else { HALF_SKEW };
        let fraction = if frozen { 995_000 } else { 1_000 };
        let mut t = 3_000_000 + fraction - front_end;
        for nap in naps {
            let trip = Trip { gap: 0, up: 1_000, down: 1_000, front_end };
            let (sample, end) = round_trip(&local, t - 1_000, trip, 0);
            learn(&mut clock, &sample);
            if frozen {
                local.frozen += nap;
            } else {
                local.wall_error_ms += nap / 1_000;
            }
            contains(clock.interval(local.at(end + nap)), end + nap)?;
            t += 1_000_000;
        }
    }

    /// The wall clock shows a part of the freeze: the old estimate is wrong by the rest and must not be intersected.
    #[test]
    fn what_was_known_before_a_thaw_is_forgotten(
        trips in trips(1..4),
        shown in 52_i64..3_000,
        hidden in 0_i64..3_000,
    ) {
        let (mut clock, mut local) = (clock(), Local::default());
        let mut t = 1_000_000;
        for trip in trips {
            let (sample, end) = round_trip(&local, t, trip, 0);
            learn(&mut clock, &sample);
            t = end;
        }
        local.frozen = (shown + hidden) * 1_000;
        local.wall_error_ms = -hidden;
        t += local.frozen;
        prop_assert_eq!(clock.interval(local.at(t)), None);
        t = recover(&mut clock, &local, t);
        contains(clock.interval(local.at(t)), t)?;
    }

    #[test]
    fn a_thaw_or_a_step_drops_it(
        trips in trips(1..4),
        slept in 52_i64..100_000,
        thaw in any::<bool>(),
        back in any::<bool>(),
    ) {
        let (mut clock, mut local) = (clock(), Local::default());
        let mut t = 1_000_000;
        for trip in trips {
            let (sample, end) = round_trip(&local, t + trip.gap, trip, 0);
            learn(&mut clock, &sample);
            t = end;
        }
        if thaw {
            local.frozen = slept * 1_000;
            t += slept * 1_000;
        } else {
            local.wall_error_ms = if back { -slept } else { slept };
        }
        prop_assert_eq!(clock.interval(local.at(t)), None);
        prop_assert_eq!(clock.judge(local.at(t), MAX_SKEW), None, "a wall clock that stepped judges nobody");
        prop_assert!(!clock.write_time(local.at(t), MAX_SKEW).verified);
        // The next response starts afresh: nothing of the old estimate may linger.
        let trip = Trip { gap: 0, up: 900, down: 900, front_end: 0 };
        let (sample, end) = round_trip(&local, t, trip, 0);
        learn(&mut clock, &sample);
        contains(clock.interval(local.at(end)), end)?;
        prop_assert!(width(clock.interval(local.at(end))) < Duration::from_millis(2_010));
    }

    /// By the rule of the response itself, no server had passed it at the send, whatever the estimate says.
    #[test]
    fn a_date_bounds_the_send(trips in trips(1..2), estimate_lie in -3_600_000_000_i64..3_600_000_000) {
        let (mut clock, local) = (clock(), Local::default());
        for trip in trips {
            let (sample, _) = round_trip(&local, 1_000_000, trip, estimate_lie);
            learn(&mut clock, &sample);
            let (sample, _) = round_trip(&local, 9_000_000, trip, 0);
            let bound = clock.latest_at_send(sample.sent, Some(sample.date), MAX_SKEW);
            prop_assert!(bound >= Timestamp::from_millis(EPOCH_MS + 9_000 + 250));
            prop_assert_eq!(bound, sample.date.saturating_add(Duration::from_millis(1_500)));
        }
    }
}

fn honest(local: &Local, t: i64) -> Sample {
    let trip = Trip {
        gap: 0,
        up: 10_000,
        down: 10_000,
        front_end: 0,
    };
    round_trip(local, t, trip, 0).0
}

#[test]
fn without_any_response_there_is_only_the_wall_clock_to_write_from() {
    let now = Local::default().at(5_000_000);
    assert_eq!(clock().interval(now), None);
    assert_eq!(clock().judge(now, MAX_SKEW), None);
    let plain = WriteTime {
        latest: now.wall,
        verified: false,
    };
    assert_eq!(clock().write_time(now, MAX_SKEW), plain);
}

#[test]
fn where_no_response_has_a_date_the_wall_clock_counts_with_its_error() {
    let (mut clock, now) = (clock(), Local::default().at(5_000_000));
    clock.observe_undated();
    let around = Interval {
        earliest: now.wall.saturating_sub(MAX_SKEW),
        latest: now.wall.saturating_add(MAX_SKEW),
    };
    assert_eq!(clock.interval(now), None);
    assert_eq!(clock.judge(now, MAX_SKEW), Some(around));
    assert_eq!(
        clock.write_time(now, MAX_SKEW),
        WriteTime {
            latest: around.latest,
            verified: false
        }
    );
    assert_eq!(clock.latest_at_send(now, None, MAX_SKEW), around.latest);
}

#[test]
fn a_response_without_a_date_does_not_undo_one_with() {
    let (mut clock, mut local) = (clock(), Local::default());
    learn(&mut clock, &honest(&local, 5_000_000));
    clock.observe_undated();
    let now = local.at(5_030_000);
    assert!(clock.write_time(now, MAX_SKEW).verified);
    assert_eq!(clock.judge(now, MAX_SKEW), clock.interval(now));
    assert_eq!(
        Some(clock.latest_at_send(now, None, MAX_SKEW)),
        clock.interval(now).map(|i| i.latest)
    );
    local.wall_error_ms = 3_600_000;
    assert_eq!(clock.judge(local.at(5_040_000), MAX_SKEW), None);
}

#[test]
fn a_date_ends_the_time_without() {
    let (mut clock, local) = (clock(), Local::default());
    clock.observe_undated();
    learn(&mut clock, &honest(&local, 5_000_000));
    assert!(clock.write_time(local.at(5_030_000), MAX_SKEW).verified);
}

#[test]
fn a_request_that_slept_through_a_step_proves_nothing() {
    let (mut clock, mut local) = (clock(), Local::default());
    let sent = local.at(5_000_000);
    local.wall_error_ms = 3_600_000;
    let received = local.at(5_020_000);
    learn(
        &mut clock,
        &Sample {
            sent,
            received,
            date: date(5_010_000),
        },
    );
    assert_eq!(clock.interval(received), None);
    assert_eq!(
        clock.judge(received, MAX_SKEW),
        None,
        "dated, so the next response will tell"
    );
}

#[test]
fn a_contest_takes_three_samples_and_two_seconds() {
    let (mut clock, local) = (clock(), Local::default());
    learn(&mut clock, &honest(&local, 1_000_000));
    let far = |t| Sample {
        date: date(t + 60_000_000),
        ..honest(&local, t)
    };
    for t in [2_000_000, 3_000_000, 3_900_000] {
        learn(&mut clock, &far(t));
        assert!(
            width(clock.interval(local.at(t + 20_000))) > Duration::from_secs(50),
            "too soon at {t}"
        );
    }
    learn(&mut clock, &far(4_100_000));
    assert!(width(clock.interval(local.at(4_120_000))) < Duration::from_secs(3));
}

/// Heard at other parts of their seconds, they say together what none says alone.
#[test]
fn those_that_settle_a_contest_are_intersected() {
    let (mut clock, local) = (clock(), Local::default());
    learn(&mut clock, &round_trip(&local, 0, AT_ONCE, 60_000_000).0);
    for t in [1_900_000, 3_100_000, 4_000_000] {
        learn(&mut clock, &round_trip(&local, t, AT_ONCE, 0).0);
    }
    // From 0.1 s before a second's end to 0.1 s after another's begin, and the skew on both sides.
    let width = width(clock.interval(local.at(4_000_000)));
    assert!(width < Duration::from_millis(1_300), "{width:?}");
}

#[test]
fn clocks_may_part_by_fifty_milliseconds() {
    for (slept, known) in [(50, true), (51, false)] {
        let (mut clock, mut local) = (clock(), Local::default());
        learn(&mut clock, &round_trip(&local, 1_000_000, AT_ONCE, 0).0);
        local.wall_error_ms = slept;
        let interval = clock.interval(local.at(1_000_000));
        assert_eq!(interval.is_some(), known, "{slept} ms");
    }
}

#[test]
fn what_is_written_lasts_a_second_and_the_skew_longer() {
    let (mut clock, local) = (clock(), Local::default());
    learn(&mut clock, &honest(&local, 1_000_000));
    let time = clock.time_to_write(local.at(1_100_000), MAX_SKEW);
    assert_eq!(time.pad, Duration::from_millis(1_500));
}

/// A front end reads the last instant of its second, another one is ahead of it by all of the skew: 0.9 ms after the
/// send, which the wall clock does not show yet, the latter's clock is past 5.5007 s.
#[test]
fn nothing_is_lost_by_rounding() {
    let (mut clock, local) = (clock(), Local::default());
    let trip = Trip {
        gap: 0,
        up: 100,
        down: 800,
        front_end: -249_101,
    };
    let (sample, end) = round_trip(&local, 5_249_000, trip, 0);
    learn(&mut clock, &sample);
    let latest = clock
        .interval(local.at(end))
        .map(|interval| interval.latest.as_millis());
    assert_eq!(sample.date.as_millis(), EPOCH_MS + 4_000);
    assert!(latest >= Some(EPOCH_MS + 5_501), "{latest:?}");
}

/// While it is open who lies, everything that was heard is possible.
#[test]
fn doubt_includes_every_voice() {
    let (mut clock, local) = (clock(), Local::default());
    let lies = [60_000_000, -60_000_000, 0];
    for (t, lie) in (1..).map(|i| i * 1_000_000).zip(lies) {
        let sample = Sample {
            date: date(t + lie),
            ..honest(&local, t)
        };
        learn(&mut clock, &sample);
    }
    assert!(contains(clock.interval(local.at(3_020_000)), 3_020_000).is_ok());
    assert!(width(clock.interval(local.at(3_020_000))) > Duration::from_secs(119));
    learn(
        &mut clock,
        &Sample {
            date: date(94_000_000),
            ..honest(&local, 4_000_000)
        },
    );
    assert!(width(clock.interval(local.at(4_020_000))) > Duration::from_secs(149));
}

/// A response that is learned of late must not put back the moment since which nothing diverged.
#[test]
fn a_late_response_is_not_the_newest() {
    let (mut clock, mut local) = (clock(), Local::default());
    let late = honest(&local, 1_000_000);
    local.frozen += 40_000;
    learn(&mut clock, &honest(&local, 2_000_000));
    learn(&mut clock, &late);
    local.frozen += 40_000;
    assert!(clock.interval(local.at(3_000_000)).is_some());
}

#[test]
fn two_samples_far_apart_do_not_settle_a_contest() {
    let (mut clock, local) = (clock(), Local::default());
    learn(&mut clock, &honest(&local, 1_000_000));
    let far = |t| Sample {
        date: date(t + 60_000_000),
        ..honest(&local, t)
    };
    learn(&mut clock, &far(2_000_000));
    learn(&mut clock, &far(9_000_000));
    assert!(width(clock.interval(local.at(9_020_000))) > Duration::from_secs(50));
}

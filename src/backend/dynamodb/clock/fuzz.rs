//! Any `Date`s at any moments: the clock never panics, and its two ends never change places.

use bolero::TypeGenerator;

use super::*;
use crate::fuzz::TRIES;
use crate::fuzz::record::NOW;

const SKEW: Duration = Duration::from_millis(500);

/// How the local clocks go on, and what is done then.
#[derive(Clone, Debug, TypeGenerator)]
struct Step {
    monotonic: Pass,
    /// By how much the wall clock goes on more, or less.
    jump: Jump,
    event: Event,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Pass {
    Millis(u8),
    Seconds(u16),
    Any(u64),
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Jump {
    None,
    Millis(i8),
    Hours(i8),
    Any(i64),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Event {
    /// An answer with this header, to a request that was sent so many steps ago.
    Dated(Header, u8),
    Undated,
    Nothing,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Header {
    /// The truth, give or take that many seconds.
    Near(i8),
    Any(u32),
    Text(Vec<u8>),
}

impl Header {
    /// As it stands on the wire, read as the interceptor reads it.
    fn date(&self, wall: Timestamp) -> Option<Timestamp> {
        let text = match self {
            Self::Near(off) => date_header(wall.as_millis() / 1000 + i64::from(*off)),
            Self::Any(seconds) => date_header(i64::from(*seconds) * 60),
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let date = httpdate::parse_http_date(&text).ok();
        date.map(Timestamp::from)
    }
}

/// httpdate knows the years 1970 to 9999.
fn date_header(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0) % 253_402_300_800;
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn on(now: Moment, step: &Step) -> Moment {
    let passed = match step.monotonic {
        Pass::Millis(ms) => Duration::from_millis(ms.into()),
        Pass::Seconds(seconds) => Duration::from_secs(seconds.into()),
        Pass::Any(ms) => Duration::from_millis(ms),
    };
    let jump = match step.jump {
        Jump::None => 0,
        Jump::Millis(ms) => ms.into(),
        Jump::Hours(hours) => i64::from(hours) * 3_600_000,
        Jump::Any(ms) => ms,
    };
    let wall = now.wall.saturating_add(passed).as_millis();
    Moment {
        monotonic: now.monotonic.saturating_add(passed),
        wall: Timestamp::from_millis(wall.saturating_add(jump)),
    }
}

#[test]
fn the_earliest_is_never_after_the_latest() {
    bolero::check!()
        .with_type::<Vec<Step>>()
        .with_iterations(TRIES)
        .for_each(|steps| {
            let mut clock = IntervalClock::new(SKEW);
            let start = Moment {
                monotonic: Duration::from_secs(1),
                wall: Timestamp::from_millis(NOW),
            };
            let mut moments = vec![start];
            for step in steps {
                let now = on(*moments.last().unwrap(), step);
                moments.push(now);
                match &step.event {
                    Event::Dated(header, ago) => {
                        let sent = moments.len() - 1 - usize::from(*ago) % moments.len();
                        match header.date(now.wall) {
                            Some(date) => answered(&mut clock, moments[sent], now, date),
                            None => clock.observe_undated(),
                        }
                    }
                    Event::Undated => clock.observe_undated(),
                    Event::Nothing => {}
                }
                is_sound(&clock, now);
            }
        });
}

fn answered(clock: &mut IntervalClock, sent: Moment, received: Moment, date: Timestamp) {
    clock.observe(sent, received, date);
    let latest = clock.latest_at_send(sent, Some(date), SKEW);
    assert!(latest >= date, "what the answer itself says");
    let _ = clock.latest_at_send(sent, None, SKEW);
    let _ = clock.interval(sent);
}

fn is_sound(clock: &IntervalClock, now: Moment) {
    let most = Duration::from_mins(5);
    let known = clock.interval(now);
    for interval in [known, clock.judge(now, most)].into_iter().flatten() {
        assert!(interval.earliest <= interval.latest, "{interval:?}");
    }
    let written = clock.write_time(now, most);
    assert_eq!(written.verified, known.is_some());
    assert!(known.is_none_or(|known| known.latest == written.latest));
}

//! Processes whose tasks want the same lock, one section after another: doclock's waiters, in turn with a loop that tries
//! a lock by hand every 20 ms.

use std::time::Duration;

use anyhow::Result;
use doclock::{ErrorKind, LockClient};
use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::child::{Child, Parent, Role, say};
use crate::meter::{Meter, Usage};
use crate::raw::{ByHand, Way};
use crate::report::{Figure, Report};
use crate::server::Site;
use crate::time::{Clock, median, millis};
use crate::{Bench, TIMES};

const NAME: &str = "contention";
const WAYS: [Way; 2] = [Way::Doclock, Way::Plain];

/// Processes, and tasks in each of them, whose ratios are measured several times.
const CROWDS: [(usize, usize); 4] = [(1, 16), (4, 4), (4, 16), (8, 32)];
/// Those that the curves need besides.
const MORE: [(usize, usize); 5] = [(1, 1), (2, 8), (8, 2), (4, 1), (4, 64)];

/// Until all have begun, and wait as long as they will.
const WARM_UP: Duration = Duration::from_secs(1);
/// Until a line has come to every process.
const SOON: Duration = Duration::from_millis(50);

/// When and how to contend.
#[derive(Clone, Serialize, Deserialize)]
struct Slot {
    way: Way,
    key: String,
    begin: Duration,
    /// What happens before is not counted.
    from: Duration,
    until: Duration,
}

/// What came of a slot, in one process or all of them.
#[derive(Default, Serialize, Deserialize)]
struct Tally {
    usage: Usage,
    /// When each section was entered.
    entries: Vec<Duration>,
    /// A task's, in milliseconds; of those that were still waiting in the end, until then.
    waits: Vec<f64>,
}

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(bench.quick_or(2, 10));
    let times = |crowd: &(usize, usize)| {
        if CROWDS.contains(crowd) {
            TIMES
        } else {
            bench.quick_or(1, TIMES)
        }
    };
    let crowds = || CROWDS.iter().chain(&MORE);
    let slots: usize = crowds().map(|crowd| times(crowd) * WAYS.len()).sum();
    bench.begin(NAME, slots);
    let mut outcomes = Vec::new();
    for crowd in crowds() {
        let outcome = contest(bench, *crowd, times(crowd), length).await?;
        if CROWDS.contains(crowd) {
            tell(bench, report, *crowd, &outcome);
        }
        outcomes.push((*crowd, outcome));
    }
    outcomes.sort_by_key(|(crowd, _)| *crowd);
    draw(bench, report, &outcomes);
    Ok(())
}

/// By way, what came of each slot.
type Outcome = [Vec<Measured>; 2];

struct Measured {
    per_second: f64,
    /// For each section.
    usage: Usage,
    /// A task's wait, in milliseconds.
    longest: f64,
    /// Of how long a process was without the lock while others had it: the longest time, to the median.
    unfairness: f64,
}

async fn contest(
    bench: &Bench,
    (processes, tasks): (usize, usize),
    times: usize,
    length: Duration,
) -> Result<Outcome> {
    let role = Role::Contender {
        site: bench.site.clone(),
        tasks,
    };
    let mut children: Vec<_> = (0..processes)
        .map(|_| Child::start(&role))
        .collect::<Result<_>>()?;
    for child in &mut children {
        child.hear::<()>().await?;
    }
    let mut outcome = Outcome::default();
    for nth in 0..times {
        for (measured, way) in outcome.iter_mut().zip(WAYS) {
            let begin = Clock::WALL.now()? + SOON;
            let slot = Slot {
                way,
                key: format!("contention-{processes}-{tasks}-{nth}-{way:?}"),
                begin,
                from: begin + WARM_UP,
                until: begin + WARM_UP + length,
            };
            let tallies = try_join_all(children.iter_mut().map(async |child| {
                child.say(&slot).await?;
                child.hear::<Tally>().await
            }));
            measured.push(Measured::of(&tallies.await?, &slot));
            bench.bar.inc(1);
        }
    }
    for ended in join_all(children.into_iter().map(Child::end)).await {
        ended?;
    }
    Ok(outcome)
}

impl Measured {
    fn of(tallies: &[Tally], slot: &Slot) -> Self {
        let sections = tallies.iter().map(|tally| tally.entries.len());
        let sections = sections.sum::<usize>() as f64;
        let waits = tallies.iter().flat_map(|tally| tally.waits.iter().copied());
        let absences = absences(tallies, slot);
        Self {
            per_second: sections / slot.until.saturating_sub(slot.from).as_secs_f64(),
            usage: Usage::sum(tallies.iter().map(|tally| tally.usage)) / sections.max(1.0),
            longest: longest(waits),
            unfairness: longest(absences.iter().copied()) / median(absences),
        }
    }
}

/// How long each process was without the lock while others had it, in milliseconds.
fn absences(tallies: &[Tally], slot: &Slot) -> Vec<f64> {
    let entries = tallies.iter().enumerate();
    let entries = entries.flat_map(|(of, tally)| tally.entries.iter().map(move |when| (*when, of)));
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable();
    let mut left = vec![slot.from; tallies.len()];
    let mut absences = Vec::new();
    let mut last = None;
    for (when, of) in entries {
        if last.is_some_and(|last| last != of) {
            absences.push(millis(when.saturating_sub(left[of])));
        }
        left[of] = when;
        last = Some(of);
    }
    // Those that are without it in the end.
    let others = left.iter().enumerate().filter(|(of, _)| Some(*of) != last);
    absences.extend(others.map(|(_, left)| millis(slot.until.saturating_sub(*left))));
    absences
}

fn longest(times: impl Iterator<Item = f64>) -> f64 {
    times.fold(0.0, f64::max)
}

type Quantity = fn(&Measured) -> f64;

/// The middle one.
fn of(measured: &[Measured], quantity: Quantity) -> f64 {
    median(measured.iter().map(quantity))
}

fn tell(
    bench: &Bench,
    report: &mut Report,
    (processes, tasks): (usize, usize),
    [ours, plain]: &Outcome,
) {
    let mut tell = |what: &str, unit, quantity: Quantity, usage: Option<Usage>| {
        let pairs = ours.iter().zip(plain);
        let ratio = median(pairs.map(|(ours, plain)| quantity(ours) / quantity(plain)));
        let what = format!("{processes} × {tasks}: {what}");
        let figure = bench.figure(NAME, what, of(ours, quantity), unit);
        report.add(Figure { usage, ..figure }.ratio(ratio));
    };
    let usage = Usage {
        requests: of(ours, |it| it.usage.requests),
        writes: of(ours, |it| it.usage.writes),
        write_units: of(ours, |it| it.usage.write_units),
        read_units: of(ours, |it| it.usage.read_units),
    };
    let writes = |it: &Measured| it.usage.writes;
    tell("writes for each section", "", writes, Some(usage));
    tell("sections a second", "/s", |it| it.per_second, None);
    tell("longest wait of a task", "ms", |it| it.longest, None);
    if processes > 1 {
        let what = "longest wait of a process / the median";
        tell(what, "", |it| it.unfairness, None);
    }
}

fn draw(bench: &Bench, report: &mut Report, outcomes: &[((usize, usize), Outcome)]) {
    for ((processes, tasks), outcome) in outcomes {
        let waiters = processes * tasks;
        for (way, measured) in WAYS.iter().zip(outcome) {
            let curve = format!("{}, {way}", bench.site.kind);
            let writes = of(measured, |it| it.usage.writes);
            let sections = of(measured, |it| it.per_second);
            if *processes == 4 {
                let x = waiters as f64;
                report.point("waiters-writes", &curve, (x, writes));
                report.point("waiters-sections", &curve, (x, sections));
            }
            if waiters == 16 {
                let x = *processes as f64;
                report.point("processes-writes", &curve, (x, writes));
                report.point("processes-sections", &curve, (x, sections));
            }
        }
    }
}

/// In a child: contends whenever it is told to.
pub(crate) async fn contend(site: &Site, tasks: usize) -> Result<()> {
    let meter = Meter::default();
    let driver = site.driver(Some(&meter)).await?;
    let contender = Contender {
        locks: driver.locks(),
        by_hand: ByHand(driver),
    };
    // Its connections are those of a process that has been there for a while.
    let key = Uuid::new_v4().to_string();
    contender.by_hand.take_and_release(&key).await?;
    say(&())?;
    let mut parent = Parent::new();
    while let Some(slot) = parent.hear::<Slot>().await? {
        let mut crowd = JoinSet::new();
        for _ in 0..tasks {
            crowd.spawn(contender.clone().work(slot.clone()));
        }
        until(slot.from).await?;
        let before = meter.read();
        until(slot.until).await?;
        let mut tally = Tally {
            usage: meter.read() - before,
            ..Tally::default()
        };
        while let Some(one) = crowd.join_next().await {
            let (entries, waits) = one??;
            tally.entries.extend(entries);
            tally.waits.extend(waits);
        }
        say(&tally)?;
    }
    contender.locks.shutdown().await;
    Ok(())
}

async fn until(time: Duration) -> Result<()> {
    sleep(time.saturating_sub(Clock::WALL.now()?)).await;
    Ok(())
}

#[derive(Clone)]
struct Contender {
    locks: LockClient,
    by_hand: ByHand,
}

impl Contender {
    /// One task: when it entered its sections, and its waits in milliseconds.
    async fn work(self, slot: Slot) -> Result<(Vec<Duration>, Vec<f64>)> {
        until(slot.begin).await?;
        let (mut entries, mut waits) = (Vec::new(), Vec::new());
        loop {
            let asked = Clock::WALL.now()?;
            if asked >= slot.until {
                return Ok((entries, waits));
            }
            let granted = self.section(&slot, asked).await?;
            if granted.is_none_or(|granted| granted >= slot.from) {
                let end = granted.unwrap_or(slot.until).min(slot.until);
                waits.push(millis(end.saturating_sub(asked)));
            }
            entries.extend(granted.filter(|granted| (slot.from..slot.until).contains(granted)));
        }
    }

    /// When it was granted, if it was; it has been released.
    async fn section(&self, slot: &Slot, asked: Duration) -> Result<Option<Duration>> {
        let key = slot.key.as_str();
        if slot.way == Way::Plain {
            let owner = Uuid::new_v4().to_string();
            if !self.by_hand.wait(key, &owner, slot.until).await? {
                return Ok(None);
            }
            let granted = Clock::WALL.now()?;
            self.by_hand.give_back(key, &owner).await?;
            return Ok(Some(granted));
        }
        let left = slot.until.saturating_sub(asked);
        match self.locks.lock(key).wait(left).acquire().await {
            Ok(lease) => {
                let granted = Clock::WALL.now()?;
                lease.release().await?;
                Ok(Some(granted))
            }
            Err(error) => match error.kind() {
                // Or its last request was cut short.
                ErrorKind::WaitTimeout | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => {
                    Ok(None)
                }
                _ => Err(error.into()),
            },
        }
    }
}

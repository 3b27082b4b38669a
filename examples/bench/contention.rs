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
    sections: usize,
    usage: Usage,
    /// Milliseconds; of those that were still waiting in the end, until then.
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
    /// Milliseconds.
    longest: f64,
    median: f64,
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
            measured.push(Measured::of(&tallies.await?, length));
            bench.bar.inc(1);
        }
    }
    for ended in join_all(children.into_iter().map(Child::end)).await {
        ended?;
    }
    Ok(outcome)
}

impl Measured {
    fn of(tallies: &[Tally], length: Duration) -> Self {
        let sections = tallies.iter().map(|tally| tally.sections).sum::<usize>() as f64;
        let waits = || tallies.iter().flat_map(|tally| tally.waits.iter().copied());
        Self {
            per_second: sections / length.as_secs_f64(),
            usage: Usage::sum(tallies.iter().map(|tally| tally.usage)) / sections.max(1.0),
            longest: waits().fold(0.0, f64::max),
            median: median(waits()),
        }
    }
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
    tell("longest wait", "ms", |it| it.longest, None);
    let unfairness = |it: &Measured| it.longest / it.median;
    tell("longest wait / the median", "", unfairness, None);
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
            let (sections, waits) = one??;
            tally.sections += sections;
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
    /// One task: sections, and waits in milliseconds.
    async fn work(self, slot: Slot) -> Result<(usize, Vec<f64>)> {
        until(slot.begin).await?;
        let (mut sections, mut waits) = (0, Vec::new());
        loop {
            let asked = Clock::WALL.now()?;
            if asked >= slot.until {
                return Ok((sections, waits));
            }
            let granted = self.section(&slot, asked).await?;
            if granted.is_none_or(|granted| granted >= slot.from) {
                let end = granted.unwrap_or(slot.until).min(slot.until);
                waits.push(millis(end.saturating_sub(asked)));
            }
            let done = Clock::WALL.now()?;
            let counts = granted.is_some() && (slot.from..slot.until).contains(&done);
            sections += usize::from(counts);
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

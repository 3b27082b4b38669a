//! Readers, writers and permits on one key: nobody beside whom the lock keeps out, in what the processes did and in
//! what the record showed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use doclock::{LockClient, LockRecord, Timestamp};

use super::loops::{Loop, Until};
use super::sections::{Kind, Section, check};
use super::team::Team;
use super::{report, usual_or_full};
use crate::processes::site::on_every_server;

const PROCESSES: usize = 4;
const LIMIT: u32 = 2;
const PERMIT: Kind = Kind::Permit(LIMIT);
/// Eight tasks of each process: what they want, and whether in order of arrival.
const TASKS: [(Kind, bool); 8] = [
    (Kind::Reader, false),
    (Kind::Reader, false),
    (Kind::Reader, true),
    (Kind::Writer, false),
    (Kind::Writer, true),
    (PERMIT, false),
    (PERMIT, false),
    (PERMIT, true),
];

fn loops(key: &str, span: Duration) -> Vec<Loop> {
    let each = TASKS.into_iter().map(|(kind, fair)| Loop {
        key: key.to_owned(),
        kind,
        fair,
        hold: Duration::from_millis(10),
        rest: Duration::from_millis(20),
        until: Until::Over(span),
    });
    each.collect()
}

/// Holds for so long that the others get there who may stand beside it, however busy the machine is.
fn long(key: &str, kind: Kind) -> Loop {
    Loop {
        key: key.to_owned(),
        kind,
        fair: true,
        hold: Duration::from_secs(2),
        rest: Duration::ZERO,
        until: Until::Times(1),
    }
}

/// What the record showed, how often.
#[derive(Default)]
struct Sightings {
    reads: usize,
    queues: usize,
    peak: usize,
}

impl Sightings {
    /// Looks at the record all the time.
    async fn watch(&mut self, locks: &LockClient, key: &str, over: &AtomicBool) -> Result<()> {
        while !over.load(Ordering::SeqCst) {
            if let Some(record) = locks.inspect(key).await? {
                self.see(&record)
                    .with_context(|| format!("in the record: {record:?}"))?;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    fn see(&mut self, record: &LockRecord) -> Result<()> {
        let now = Timestamp::from(SystemTime::now());
        let live = record.holders.iter();
        let live: Vec<_> = live.filter(|holder| holder.expires_at > now).collect();
        let mut kinds = [Kind::Writer, Kind::Reader, PERMIT].into_iter();
        let kind = kinds.find(|kind| kind.mode() == record.mode);
        let kind = kind.context("another mode")?;
        ensure!(live.len() <= kind.room(), "too many hold");
        for holder in &live {
            let wanted = holder.label.as_ref().context("nobody's")?.as_str();
            ensure!(wanted == record.mode.name(), "side by side with a {wanted}");
        }
        self.reads += 1;
        self.queues += usize::from(!record.queue.is_empty());
        self.peak = self.peak.max(live.len());
        Ok(())
    }
}

fn of_kind(sections: &[Section], kind: Kind) -> Vec<Section> {
    let of_kind = sections.iter().filter(|section| section.kind == kind);
    of_kind.cloned().collect()
}

on_every_server! {
    async fn no_mode_stands_beside_another(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let locks = doclock::connect(&url).await?;
        let mut team = Team::start(&url, PROCESSES).await?;
        let span = usual_or_full(Duration::from_secs(10), Duration::from_secs(30));
        let (over, mut seen) = (AtomicBool::new(false), Sightings::default());
        let work = async {
            let mut sections = team.loops(&loops("mixed", span)).await?;
            // Short holds may never have met.
            for kind in [Kind::Reader, PERMIT] {
                sections.extend(team.loops(&[long("mixed", kind)]).await?);
            }
            over.store(true, Ordering::SeqCst);
            anyhow::Ok(sections)
        };
        let (sections, ()) = tokio::try_join!(work, seen.watch(&locks, "mixed", &over))?;

        check(&sections)?;
        let (mut figures, mut peaks) = (Vec::new(), Vec::new());
        for kind in [Kind::Reader, Kind::Writer, PERMIT] {
            let sections = of_kind(&sections, kind);
            let peak = check(&sections)?;
            figures.push(format!("{} × {}, {peak} at once", sections.len(), kind.mode().name()));
            peaks.push(peak);
        }
        report(site, "modes mixed", format_args!("{}; {} reads", figures.join("; "), seen.reads));
        // Nothing was shown if nobody ever shared, or the limit was never reached.
        assert!(peaks[0] > 1 && peaks[2] == LIMIT as usize, "{peaks:?} at once");
        assert!(seen.peak > 1 && seen.queues > 0, "the watcher saw nothing");
    }
}

/// The control: the same with a lock for each process. If nothing was found, the tests above would show nothing.
#[tokio::test]
async fn modes_meet_without_a_common_lock() -> Result<()> {
    let mut team = Team::start("memory:", 2).await?;
    let loops = loops("mixed", Duration::from_secs(2));
    let sections: Vec<Section> = team.loops(&loops).await?;
    let found = check(&sections).unwrap_err();
    println!("without a common lock: {found:#}");
    Ok(())
}

//! A client: takes locks, does what they protect, and writes down what it saw.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use doclock::{Lease, Lock, LockClient, Mode};
use fastrand::Rng;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::child::{orders, say};
use crate::clocks::Clock;
use crate::foreign::Meddler;
use crate::history::What;
use crate::journal::{Journal, now};
use crate::resource::Connection;
use crate::workload::{End, Manner, Renewal, Workload};

/// Of every lease.
pub(crate) const TTL: Duration = Duration::from_secs(2);
/// How many things a client does at once.
const LOOPS: u64 = 2;
/// A look that takes longer was interrupted: nobody knows when the answer was true.
const LOOK: u64 = 5_000_000;

/// What a client is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) number: u32,
    pub(crate) seed: u64,
    pub(crate) url: String,
    pub(crate) resource: SocketAddr,
    pub(crate) folder: PathBuf,
    pub(crate) clock: Clock,
    /// It goes on saying that it holds what it was once granted. To show that the check can fail.
    pub(crate) ignores_deadline: bool,
}

struct Client {
    locks: LockClient,
    meddler: Meddler,
    resource: Connection,
    journal: Journal,
    leases: AtomicU32,
    ignores_deadline: bool,
}

/// Works until it is told to stop.
pub(crate) async fn work(settings: Settings) -> Result<()> {
    let stopped = orders();
    let name = format!("client-{:04}", settings.number);
    let client = Arc::new(Client {
        locks: settings.clock.connect(&settings.url).await?,
        meddler: Meddler::connect(&settings.url).await?,
        resource: Connection::open(settings.resource, settings.number).await?,
        journal: Journal::open(&settings.folder, &name, settings.number)?,
        leases: AtomicU32::new(0),
        ignores_deadline: settings.ignores_deadline,
    });
    let loops = (0..LOOPS).map(|number| {
        let rng = Rng::with_seed(settings.seed.wrapping_add(number));
        Arc::clone(&client).work(rng, stopped.clone())
    });
    try_join_all(loops).await?;
    client.locks.shutdown().await;
    Ok(())
}

impl Client {
    async fn work(self: Arc<Self>, mut rng: Rng, stopped: watch::Receiver<bool>) -> Result<()> {
        while !*stopped.borrow() {
            if rng.u8(..) < 8 {
                if self.meddler.meddle(&self.locks, &mut rng).await? {
                    say("meddled");
                }
            } else {
                self.take(&Workload::draw(&mut rng), &mut rng).await?;
            }
            sleep(Duration::from_millis(rng.u64(..50))).await;
        }
        Ok(())
    }

    /// Takes a lock once, or does not.
    async fn take(self: &Arc<Self>, workload: &Workload, rng: &mut Rng) -> Result<()> {
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        self.journal.note(workload.acquire(number, TTL)?)?;
        let lock = workload.lock(&self.locks).ttl(TTL);
        let Some(outcome) = outcome(lock, workload.manner).await else {
            return self.journal.note(What::GivenUp { lease: number });
        };
        match outcome {
            Ok(Some(lease)) => {
                let token = lease.token();
                self.journal.note(What::Granted {
                    lease: number,
                    token,
                })?;
                say("granted");
                self.hold(&lease, number, workload, rng).await?;
                self.end(lease, number, workload.end).await
            }
            refused => {
                let kind = match refused {
                    Err(error) => format!("{:?}", error.kind()),
                    Ok(_) => "WaitTimeout".to_owned(),
                };
                let lease = number;
                self.journal.note(What::NotGranted { lease, kind })
            }
        }
    }

    /// The critical section: looks at the lease, dawdles, and only then writes.
    async fn hold(
        self: &Arc<Self>,
        lease: &Lease<Mode>,
        number: u32,
        workload: &Workload,
        rng: &mut Rng,
    ) -> Result<()> {
        let watcher = tokio::spawn(Arc::clone(self).watch(lease.lost(), number));
        for pause in workload.pauses(rng) {
            if !self.look(lease, number)? {
                break;
            }
            if workload.writes() {
                say("looked");
            }
            sleep(pause).await;
            if workload.writes() {
                self.resource.write(&workload.key, lease.token()).await?;
            }
            if workload.renewal != Renewal::Automatic && rng.bool() {
                let since = now()?;
                let ok = lease.renew().await.is_ok();
                let lease = number;
                self.journal.note(What::Renewed { lease, since, ok })?;
            }
        }
        watcher.abort();
        Ok(())
    }

    async fn watch(
        self: Arc<Self>,
        lost: impl Future<Output = doclock::Error>,
        number: u32,
    ) -> Result<()> {
        let message = lost.await.to_string();
        self.journal.note(What::Lost {
            lease: number,
            message,
        })
    }

    /// Whether the lease says that it is held.
    fn look(&self, lease: &Lease<Mode>, number: u32) -> Result<bool> {
        let since = now()?;
        let remaining = if self.ignores_deadline {
            TTL
        } else {
            lease.remaining()
        };
        let at = now()?;
        if remaining.is_zero() {
            return Ok(false);
        }
        if at - since < LOOK {
            let held = What::Held {
                lease: number,
                since,
                remaining: u64::try_from(remaining.as_nanos())?,
            };
            self.journal.note_at(at, held)?;
        }
        Ok(true)
    }

    async fn end(&self, lease: Lease<Mode>, number: u32, end: End) -> Result<()> {
        // However it ends: from here on nobody here believes in it.
        self.journal.note(What::Release { lease: number })?;
        match end {
            End::Expire => lease.let_expire(),
            End::Drop => drop(lease),
            End::Release => {
                let ok = lease.release().await.is_ok();
                self.journal.note(What::Released { lease: number, ok })?;
            }
        }
        Ok(())
    }
}

/// `None` if nobody waited for it any more.
async fn outcome(lock: Lock<Mode>, manner: Manner) -> Option<doclock::Result<Option<Lease<Mode>>>> {
    match manner {
        Manner::Try => Some(lock.try_acquire().await),
        Manner::Wait(wait) => Some(lock.wait(wait).acquire().await.map(Some)),
        Manner::GiveUp { wait, after } => {
            let acquired = timeout(after, lock.wait(wait).acquire()).await.ok()?;
            Some(acquired.map(Some))
        }
    }
}

//! `doclock run`: a command under a lock.
//!
//! Three processes: this one holds the lease; its child, the [`guard`], leads a process group of its own and ends it in
//! time, whatever becomes of this one; and the guard's child is the command. If this one is stopped or killed, the guard
//! ends the command by the deadline that it was told last. If the guard is killed, the kernel kills the command (on Linux),
//! and this process the rest of the group.

mod args;
mod clock;
mod control;
pub(crate) mod exec;
pub(crate) mod guard;
mod guarded;
mod help;
mod leash;
mod process;
mod signals;
mod stage;
mod terminal;

use std::io;
use std::time::Duration;

use doclock::{Job, Lease, Lock, LockClient, Mode, Run};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::guarded::Guarded;
use self::signals::Signals;
use self::stage::Stage;
use crate::connect::Database;
use crate::exit::{Exit, Failure, say};

pub(crate) use self::args::Args;

/// As long as a request may take: nobody waits for more at the end.
const LEAVING: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: Args, database: &Database) -> Result<Exit, Failure> {
    exec::check(&args.command)?;
    let mut signals = Signals::listen()?;
    let locks = database.connect().await?;
    let stage = Stage::default();
    let holder = Holder {
        args: &args,
        stage: &stage,
    };
    let held = tokio::select! {
        held = holder.hold(&locks) => held,
        exit = stage.heed(&mut signals) => Ok(exit),
    };
    // A place in a queue, a grant that came just now, or a lock that is being given back.
    let is_left = timeout(LEAVING, locks.shutdown()).await.is_ok();
    if !is_left && held.is_ok() {
        say(&"not given back in time: what is taken stays so until its ttl is over");
    }
    held.map_err(|failure| {
        if failure.exit() == Exit::BUSY {
            failure.with_exit(args.busy_exit())
        } else {
            failure
        }
    })
}

struct Holder<'a> {
    args: &'a Args,
    stage: &'a Stage,
}

impl Holder<'_> {
    /// Takes the lock, runs the command, and gives the lock back.
    async fn hold(&self, locks: &LockClient) -> Result<Exit, Failure> {
        match self.args.job(locks) {
            Some(job) => self.in_slot(job).await,
            None => self.locked(self.args.lock(locks)).await,
        }
    }

    async fn locked(&self, lock: Lock<Mode>) -> Result<Exit, Failure> {
        let lease = lock.acquire().await?;
        let exit = tokio::select! {
            biased;
            why = lease.lost() => return Err(why.into()),
            exit = self.supervise(&lease) => exit?,
        };
        if let Err(error) = lease.release().await {
            say(&Failure::from(error));
        }
        Ok(exit)
    }

    async fn in_slot(&self, job: Job) -> Result<Exit, Failure> {
        let run = job.run(async |lease| match self.supervise(lease).await {
            Ok(Exit::SUCCESS) => Ok(()),
            other => Err(other),
        });
        match run.await? {
            Run::Succeeded(()) => Ok(Exit::SUCCESS),
            Run::Failed(exit) => exit,
            Run::Skipped => {
                say(&format!(
                    "`{}`: has run already, nothing to do",
                    self.args.key
                ));
                Ok(Exit::SUCCESS)
            }
            Run::Busy => {
                let message = format!(
                    "`{}`: runs elsewhere, or its time has not come",
                    self.args.key
                );
                Err(Failure::new(Exit::BUSY, message))
            }
        }
    }

    /// Runs the command. Dropped before its end, it is killed.
    async fn supervise<M: 'static>(&self, lease: &Lease<M>) -> Result<Exit, Failure> {
        let env = [
            ("DOCLOCK_KEY", lease.key().to_string()),
            ("DOCLOCK_TOKEN", lease.token().to_string()),
            ("DOCLOCK_OWNER", lease.owner().to_string()),
        ];
        let until = deadline(lease)?;
        let guarded = Guarded::start(&self.args.command, &env, self.args.grace(), until);
        let mut guarded = guarded?;
        self.stage.runs(guarded.group());
        let mut telling = interval(self.args.telling());
        telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let exit = loop {
            tokio::select! {
                exit = guarded.ended() => break exit?,
                _ = telling.tick() => guarded.tell(deadline(lease)?),
            }
        };
        self.stage.has_ended(exit);
        Ok(exit)
    }
}

/// Until when the lease is certainly held. The clock is read first: the time between counts as spent.
fn deadline<M: 'static>(lease: &Lease<M>) -> io::Result<Duration> {
    Ok(clock::now()?.saturating_add(lease.remaining()))
}

//! The clients: eight seats, each taken by one process after another.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use nix::sys::signal::Signal;
use tokio::sync::{Mutex, broadcast};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::child::{Child, Role, Words};
use crate::client::{Settings, TTL};
use crate::clocks::Clock;
use crate::faults::Faults;
use crate::history::What;
use crate::servers::Servers;
use crate::support::poll;
use crate::support::proxy::Proxy;

/// How many clients there are.
pub(crate) const SEATS: usize = 8;
/// How long to wait for somebody to look at a lease.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long everyone's turn may take once all is well: several waits.
const TURN: Duration = Duration::from_mins(1);

/// All clients.
pub(crate) struct Clients {
    seats: Vec<Seat>,
    faults: Arc<Faults>,
    template: Settings,
    next: AtomicU32,
    looked: broadcast::Sender<usize>,
    meddled: Arc<AtomicU64>,
    writes: &'static [&'static str],
    /// Locked while the proxies do not just pass things on.
    pub(crate) network: Mutex<()>,
}

struct Seat {
    url: String,
    proxy: Option<Proxy>,
    /// Locked while something is done to it.
    process: Mutex<Option<Process>>,
    grants: Arc<AtomicU64>,
}

struct Process {
    number: u32,
    child: Child,
}

impl Clients {
    /// `template` says what all clients have in common. Every second client of a replica set finds its members by itself; a
    /// proxy leads to one.
    pub(crate) async fn start(
        servers: &Servers,
        faults: Arc<Faults>,
        template: Settings,
        rng: &mut Rng,
    ) -> Result<Self> {
        let mut seats = Vec::new();
        for number in 0..SEATS {
            let straight = matches!(servers, Servers::Set(_)) && number % 2 == 0;
            let (proxy, url) = if straight {
                (None, servers.url())
            } else {
                let (proxy, url) = servers.proxy().await?;
                (Some(proxy), url)
            };
            seats.push(Seat {
                url,
                proxy,
                process: Mutex::default(),
                grants: Arc::default(),
            });
        }
        let clients = Self {
            seats,
            faults,
            template,
            next: AtomicU32::new(1),
            looked: broadcast::Sender::new(64),
            meddled: Arc::default(),
            writes: servers.writes(),
            network: Mutex::default(),
        };
        for seat in 0..SEATS {
            let process = clients.spawn(seat, rng.u64(..), Clock::draw(rng))?;
            *clients.seats[seat].process.lock().await = Some(process);
        }
        Ok(clients)
    }

    pub(crate) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.seats.iter().filter_map(|seat| seat.proxy.as_ref())
    }

    /// What a client's writes are on the wire.
    pub(crate) fn writes(&self) -> &'static [&'static str] {
        self.writes
    }

    /// Nobody's requests reach the server.
    pub(crate) fn cut_off(&self, on: bool) {
        for proxy in self.proxies() {
            proxy.black_hole_requests(on);
        }
    }

    /// How many grants the clients told of, by seat.
    pub(crate) fn grants(&self) -> Vec<u64> {
        let grants = self.seats.iter();
        grants
            .map(|seat| seat.grants.load(Ordering::Relaxed))
            .collect()
    }

    /// What else the clients told of: requests about records that are none of ours.
    pub(crate) fn meddled(&self) -> u64 {
        self.meddled.load(Ordering::Relaxed)
    }

    /// All proxies lead to the primary. Waits for it.
    pub(crate) async fn follow(&self, servers: &Servers) -> Result<()> {
        let primary = servers.primary().await?;
        for proxy in self.proxies() {
            if proxy.upstream() != primary {
                proxy.lead_to(primary);
            }
        }
        Ok(())
    }

    /// Stops and kills clients until `end`; then all of them run.
    pub(crate) async fn disturb(&self, mut rng: Rng, end: Instant) -> Result<()> {
        let mut under_way = FuturesUnordered::new();
        let mut next = Instant::now();
        while next < end {
            tokio::select! {
                Some(done) = under_way.next() => done?,
                () = sleep_until(next) => {
                    under_way.push(self.inflict(Fault::draw(&mut rng)));
                    next += Duration::from_millis(rng.u64(200..2500));
                }
            }
        }
        while let Some(done) = under_way.next().await {
            done?;
        }
        Ok(())
    }

    /// A client dies while it holds, and nothing else is wrong; everyone gets a lock again, at least twice.
    pub(crate) async fn recover(&self, rng: &mut Rng) -> Result<()> {
        let fault = Fault {
            kind: Kind::KilledInside,
            long: Duration::ZERO,
            ..Fault::draw(rng)
        };
        self.inflict(fault).await?;
        let before = self.grants();
        poll::until("everyone gets its turn", TURN, || async {
            let after = self.grants().into_iter();
            after
                .zip(&before)
                .all(|(after, before)| after >= before + 2)
        })
        .await
    }

    /// Everyone ends what it is about, and then itself.
    pub(crate) async fn stop(self) -> Result<()> {
        let folder = &self.template.folder;
        let stops = self.seats.into_iter().map(async |seat| {
            let process = seat.process.into_inner();
            let Process { number, child } = process.context("a seat is empty")?;
            let stopped = timeout(TURN, child.stop()).await;
            let stopped = stopped.context("it does not end").flatten();
            stopped.with_context(|| complaint(folder, number))
        });
        try_join_all(stops).await?;
        Ok(())
    }

    async fn inflict(&self, fault: Fault) -> Result<()> {
        let seat = match fault.kind {
            Kind::Stopped | Kind::Killed => fault.seat,
            Kind::StoppedInside | Kind::KilledInside => {
                let mut looks = self.looked.subscribe();
                match timeout(PATIENCE, looks.recv()).await {
                    Ok(Ok(seat)) => seat,
                    // Nobody writes just now.
                    _ => return Ok(()),
                }
            }
        };
        // Otherwise something else is being done to it.
        let Ok(mut process) = self.seats[seat].process.try_lock() else {
            return Ok(());
        };
        let Process { number, mut child } = process.take().context("a seat is empty")?;
        ensure!(
            child.is_running()?,
            complaint(&self.template.folder, number)
        );
        match fault.kind {
            Kind::Stopped | Kind::StoppedInside => {
                let stopped = Process { number, child };
                self.pause(&stopped, fault).await?;
                *process = Some(stopped);
                Ok(())
            }
            Kind::Killed | Kind::KilledInside => {
                child.kill().await?;
                self.faults.count(fault.kind.name());
                self.faults.note_of(number, What::Crashed)?;
                sleep(fault.long / 2).await;
                *process = Some(self.spawn(seat, fault.seed, fault.clock)?);
                Ok(())
            }
        }
    }

    async fn pause(&self, process: &Process, fault: Fault) -> Result<()> {
        self.faults.count(fault.kind.name());
        // The pause is within what is written down of it.
        self.faults.note_of(process.number, What::Paused)?;
        process.child.signal(Signal::SIGSTOP)?;
        sleep(fault.long).await;
        process.child.signal(Signal::SIGCONT)?;
        self.faults.note_of(process.number, What::Resumed)
    }

    fn spawn(&self, seat: usize, seed: u64, clock: Clock) -> Result<Process> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let settings = Settings {
            number,
            seed,
            url: self.seats[seat].url.clone(),
            clock,
            ..self.template.clone()
        };
        let log = self.template.folder.join(log(number));
        let (child, words) = Child::start(&Role::Client(settings), &clock.env()?, &log)?;
        if let Some(name) = clock.fault() {
            self.faults.count(name);
        }
        let grants = Arc::clone(&self.seats[seat].grants);
        let (looked, meddled) = (self.looked.clone(), Arc::clone(&self.meddled));
        tokio::spawn(listen(words, move |word| match word {
            "looked" => _ = looked.send(seat),
            "granted" => _ = grants.fetch_add(1, Ordering::Relaxed),
            "meddled" => _ = meddled.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }));
        Ok(Process { number, child })
    }
}

fn log(client: u32) -> String {
    format!("client-{client:04}.log")
}

fn complaint(folder: &Path, client: u32) -> String {
    let log = folder.join(log(client));
    format!("client {client} ended by itself: see {}", log.display())
}

async fn listen(mut words: Words, hear: impl Fn(&str)) {
    while let Some(word) = words.next().await {
        hear(&word);
    }
}

/// What is done to a client.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Stopped,
    /// Whoever looks at its lease next, before it writes.
    StoppedInside,
    Killed,
    KilledInside,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Stopped => "client stopped",
            Self::StoppedInside => "client stopped before a write",
            Self::Killed => "client killed",
            Self::KilledInside => "client killed before a write",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    kind: Kind,
    seat: usize,
    /// How long it stands still; half of it if it is dead.
    long: Duration,
    /// Of who comes after it.
    seed: u64,
    clock: Clock,
}

impl Fault {
    fn draw(rng: &mut Rng) -> Self {
        let kind = match rng.u8(..10) {
            0..5 => Kind::StoppedInside,
            5..7 => Kind::Stopped,
            7..9 => Kind::KilledInside,
            _ => Kind::Killed,
        };
        // In times of the ttl. Who is about to write is stopped until another writes.
        let shortest = if matches!(kind, Kind::StoppedInside) {
            2.0
        } else {
            0.5
        };
        Self {
            kind,
            seat: rng.usize(..SEATS),
            long: TTL.mul_f64(shortest + (3.0 - shortest) * rng.f64()),
            seed: rng.u64(..),
            clock: Clock::draw(rng),
        }
    }
}

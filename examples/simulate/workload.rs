//! What the programs on the hosts do with their locks, and what they write down of it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use doclock::{
    AcquireOutcome, Error, Exclusive, Lease, LeaseSet, Lock, LockClient, Mode, ReleaseOutcome,
    RenewOutcome, Shared, Upgrade,
};
use fastrand::Rng;
use futures_util::FutureExt;

use crate::cut::cut;
use crate::database::{Answer, Ask, KEPT};
use crate::history::{Side, What};
use crate::host::{Body, Host, Wire};
use crate::verdict::MINIMUM_HOLD;
use crate::weather::Weather;
use crate::{CALM, MS, SECOND, STOP};

/// The longest ttl of a lease.
pub(crate) const LONGEST_TTL: u64 = 5_000 * MS;
/// The longest that one request may take.
pub(crate) const LONGEST_REQUEST: u64 = 3_000 * MS;
/// How long everybody waits once all is well: longer than anybody should have to.
pub(crate) const CALM_WAIT: u64 = 20_000 * MS;

/// What all hosts of a world contend for.
#[derive(Clone)]
pub(crate) struct Scene {
    keys: Arc<Vec<Kind>>,
    /// When nobody begins anything for a while, in some worlds: long enough for a record to be collected.
    quiet: Range<u64>,
    /// The shortest ttl, in milliseconds: longer than a request and its answer take.
    shortest_ttl: u64,
    /// The shortest time that a client waits for an answer, in milliseconds: longer than one takes, or nothing would ever
    /// be well with it.
    shortest_timeout: u64,
}

/// How one key is used.
#[derive(Clone, Copy)]
enum Kind {
    Exclusive,
    ReadWrite,
    Permits(Option<u32>),
    Anything,
}

impl Scene {
    pub(crate) fn new(rng: &mut Rng, weather: &Weather) -> Self {
        let kinds = (0..rng.usize(1..=3)).map(|_| match rng.u8(..8) {
            0..3 => Kind::Exclusive,
            3..5 => Kind::ReadWrite,
            5 => Kind::Permits(Some(rng.u32(1..=3))),
            6 => Kind::Permits(None),
            _ => Kind::Anything,
        });
        let keys = Arc::new(kinds.collect());
        let from = rng.u64(5 * SECOND..20 * SECOND);
        let length = if rng.u8(..4) == 0 { 2 * KEPT } else { 0 };
        Self {
            keys,
            quiet: from..from + length,
            shortest_ttl: 300.max(8 * weather.way),
            shortest_timeout: 3 * weather.way,
        }
    }

    fn side(&self, key: usize, rng: &mut Rng) -> Side {
        let sides = [
            Side::Exclusive,
            Side::Shared,
            Side::Permit {
                limit: rng.u32(1..=3),
            },
        ];
        match self.keys[key] {
            Kind::Exclusive => Side::Exclusive,
            Kind::ReadWrite => sides[rng.usize(..2)],
            Kind::Permits(limit) => limit.map_or(sides[2], |limit| Side::Permit { limit }),
            Kind::Anything => sides[rng.usize(..3)],
        }
    }
}

/// Starts a client and its tasks on a host.
pub(crate) fn start(host: &Host, place: usize, scene: &Scene, rng: &mut Rng) {
    let body = &host.body;
    let timeout = rng.u64(300..LONGEST_REQUEST / MS);
    let timeout = millis(timeout.max(scene.shortest_timeout));
    let client = LockClient::builder(Wire(Arc::clone(body)))
        .clock(Arc::clone(body) as Arc<_>)
        .request_timeout(timeout)
        .build();
    let leases = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..rng.u64(1..=3))
        .map(|_| Program {
            locks: client.clone(),
            body: Arc::clone(body),
            rng: rng.fork(),
            scene: scene.clone(),
            leases: Arc::clone(&leases),
            place,
            pace: rng.u64(200..3_000),
        })
        .collect();
    let body = Arc::clone(body);
    host.spawn(async move {
        let tasks: Vec<_> = tasks.into_iter().map(|it| tokio::spawn(it.run())).collect();
        for task in tasks {
            task.await.expect("no program panics");
        }
        client.shutdown().await;
        body.finish();
    });
}

/// One task that takes locks, again and again.
struct Program {
    locks: LockClient,
    body: Arc<Body>,
    rng: Rng,
    scene: Scene,
    leases: Arc<AtomicU32>,
    place: usize,
    /// How long it thinks at most, in milliseconds.
    pace: u64,
}

/// One acquisition, as it was asked for.
#[derive(Clone)]
struct Wish {
    lease: u32,
    key: String,
    side: Side,
    ttl: u64,
    owner: Option<String>,
    /// It is to change its mode.
    converts: bool,
}

impl Program {
    async fn run(mut self) {
        while self.body.now() < STOP {
            let thinks = millis(self.rng.u64(1..self.pace));
            tokio::time::sleep(thinks).await;
            let now = self.body.now();
            if self.scene.quiet.contains(&now) {
                tokio::time::sleep(Duration::from_nanos(self.scene.quiet.end - now)).await;
            }
            if self.scene.keys.len() > 1 && self.rng.u8(..12) == 0 {
                self.take_several().await;
            } else {
                self.take_one().await;
            }
        }
    }

    fn is_calm(&self) -> bool {
        self.body.now() >= CALM
    }

    /// Once in so many times, while it is not calm.
    fn sometimes(&mut self, times: u8) -> bool {
        self.rng.u8(..times) == 0 && !self.is_calm()
    }

    fn next_lease(&self) -> u32 {
        self.leases.fetch_add(1, Ordering::Relaxed)
    }

    fn ask(&self, wish: &Wish, fair: bool, wait: u64) {
        self.body.tell(What::Acquire {
            lease: wish.lease,
            key: wish.key.clone(),
            side: wish.side,
            fair,
            ttl: wish.ttl,
            wait,
            owner: wish.owner.clone(),
        });
    }

    fn wish(&mut self, key: usize) -> Wish {
        let lease = self.next_lease();
        let side = self.scene.side(key, &mut self.rng);
        let converts = !matches!(side, Side::Permit { .. }) && self.rng.u8(..6) == 0;
        let owner = match (converts, self.rng.u8(..6)) {
            (true, _) => Some(format!("lease {lease} of client {}", self.body.client)),
            (false, 0) => Some(format!("host {}", self.place)),
            _ => None,
        };
        Wish {
            lease,
            key: name(key),
            side,
            ttl: self.ttl(),
            owner,
            converts,
        }
    }

    fn ttl(&mut self) -> u64 {
        let shortest = self.scene.shortest_ttl;
        self.rng.u64(shortest..=LONGEST_TTL / MS) * MS
    }

    async fn take_one(&mut self) {
        let key = self.rng.usize(..self.scene.keys.len());
        let mut wish = self.wish(key);
        let wait = match (self.is_calm(), self.rng.u8(..4)) {
            (true, _) => CALM_WAIT,
            (false, 0) => 0,
            _ => self.rng.u64(100..20_000) * MS,
        };
        let (lock, fair) = self.lock(&mut wish, wait);
        self.ask(&wish, fair, wait);
        let taken = async {
            if wait == 0 {
                lock.try_acquire().await
            } else {
                lock.acquire().await.map(Some)
            }
        };
        let gives_up = self.gives_up();
        let Wish { lease, .. } = wish;
        match cut(taken, gives_up).await {
            None => self.body.tell(What::GivenUp { lease }),
            Some(Ok(Some(taken))) => self.hold(taken, wish).await,
            Some(Ok(None)) => self.refused(lease, "Held"),
            Some(Err(error)) => self.refused(lease, &format!("{:?}", error.kind())),
        }
    }

    fn lock(&mut self, wish: &mut Wish, wait: u64) -> (Lock<Mode>, bool) {
        let mut lock = self
            .locks
            .lock_as(&wish.key, wish.side.mode())
            .ttl(Duration::from_nanos(wish.ttl))
            .wait(Duration::from_nanos(wait));
        if let Some(owner) = &wish.owner {
            lock = lock.owner(owner);
        }
        let fair = self.rng.bool();
        if fair {
            lock = lock.fair();
        }
        if self.sometimes(8) {
            let hold = self.rng.u64(100..MINIMUM_HOLD / MS);
            wish.ttl = wish.ttl.max(hold * MS);
            lock = lock.min_hold(millis(hold));
        }
        if self.sometimes(8) {
            lock = lock.max_hold(millis(self.rng.u64(100..6_000)));
        }
        if self.sometimes(5) {
            lock = lock.manual_renewal();
        }
        (lock, fair)
    }

    /// After how many polls or milliseconds a future is dropped, if it is.
    fn gives_up(&mut self) -> Option<(u32, Duration)> {
        let polls = self.rng.u32(1..6);
        let after = millis(self.rng.u64(1..4_000));
        match (self.sometimes(8), self.rng.bool()) {
            (false, _) => None,
            (true, true) => Some((polls, Duration::MAX)),
            (true, false) => Some((u32::MAX, after)),
        }
    }

    fn refused(&self, lease: u32, kind: &str) {
        let kind = kind.to_owned();
        self.body.tell(What::NotGranted { lease, kind });
    }

    /// Whether it is held, as far as the lease knows.
    fn look<M: 'static>(&self, lease: &Lease<M>, number: u32) -> bool {
        let since = self.body.now();
        let remaining = lease.remaining();
        if let Some(error) = lease.lost().now_or_never() {
            self.lost(number, &error);
            return false;
        }
        let remaining = u64::try_from(remaining.as_nanos()).unwrap();
        self.body.tell_at(
            since,
            What::Held {
                lease: number,
                since,
                remaining,
            },
        );
        true
    }

    fn lost(&self, lease: u32, why: &Error) {
        let message = why.to_string();
        self.body.tell(What::Lost { lease, message });
    }

    fn write(&self, key: &str, token: u64) {
        let key = key.to_owned();
        self.body.send(Ask::Write { key, token }, None);
    }

    /// Works under a lease, and ends it somehow.
    async fn hold(&mut self, lease: Lease<Mode>, mut wish: Wish) {
        let token = lease.token();
        self.body.tell(What::Granted {
            lease: wish.lease,
            token,
        });
        let mut lease = lease;
        for _ in 0..self.rng.u8(..6) {
            // Between its look and its write a program may be paused for as long as it likes.
            let is_held = self.look(&lease, wish.lease);
            tokio::time::sleep(millis(self.rng.u64(..20))).await;
            if !is_held && !self.sometimes(4) {
                break;
            }
            self.write(&wish.key, lease.token());
            if self.sometimes(4) {
                self.renew(&lease, wish.lease).await;
            }
            if wish.converts && self.rng.u8(..3) == 0 {
                let Some(changed) = self.convert(lease, &mut wish).await else {
                    return;
                };
                lease = changed;
            }
            let most = if self.is_calm() {
                100
            } else {
                wish.ttl / MS / 2
            };
            let work = tokio::time::sleep(millis(self.rng.u64(1..most)));
            tokio::select! {
                biased;
                why = lease.lost() => self.lost(wish.lease, &why),
                () = work => {}
            }
        }
        self.end(lease, wish.lease).await;
    }

    async fn renew(&mut self, lease: &Lease<Mode>, number: u32) {
        let since = self.body.now();
        let gives_up = self.gives_up();
        if let Some(renewed) = cut(lease.renew(), gives_up).await {
            let ok = renewed.is_ok();
            self.body.tell(What::Renewed {
                lease: number,
                since,
                ok,
            });
        }
    }

    /// Exclusive to shared or back; `None` if it is over with that.
    async fn convert(&mut self, lease: Lease<Mode>, wish: &mut Wish) -> Option<Lease<Mode>> {
        let before = wish.lease;
        let down = wish.side == Side::Exclusive;
        wish.lease = self.next_lease();
        wish.side = if down { Side::Shared } else { Side::Exclusive };
        self.ask(wish, false, 0);
        if down {
            // Others may share it from the moment on when the database has heard of it.
            self.body.tell(What::Release { lease: before });
        }
        let gives_up = self.gives_up();
        let changed = cut(change(lease), gives_up).await;
        let lease = wish.lease;
        if let Some(Ok(Err(same))) = changed {
            self.refused(lease, "Held");
            (wish.lease, wish.side) = (before, Side::Shared);
            return Some(same);
        }
        if !down {
            self.body.tell(What::Release { lease: before });
        }
        match changed {
            Some(Ok(Ok(next) | Err(next))) => {
                let token = next.token();
                self.body.tell(What::Granted { lease, token });
                return Some(next);
            }
            Some(Err(error)) => self.refused(lease, &format!("{:?}", error.kind())),
            None => self.body.tell(What::GivenUp { lease }),
        }
        None
    }

    async fn end(&mut self, held: Lease<Mode>, lease: u32) {
        if self.sometimes(10) {
            self.body.tell(What::GivenUp { lease });
            held.let_expire();
            return;
        }
        self.body.tell(What::Release { lease });
        if self.sometimes(4) {
            return;
        }
        let gives_up = self.gives_up();
        if let Some(released) = cut(held.release(), gives_up).await {
            let ok = released.is_ok();
            self.body.tell(What::Released { lease, ok });
        }
    }

    /// All keys, or none.
    async fn take_several(&mut self) {
        let ttl = self.ttl();
        let wishes: Vec<_> = (0..self.scene.keys.len())
            .map(|key| Wish {
                lease: self.next_lease(),
                key: name(key),
                side: Side::Exclusive,
                ttl,
                owner: None,
                converts: false,
            })
            .collect();
        for wish in &wishes {
            self.ask(wish, false, 0);
        }
        let keys = wishes.iter().map(|wish| wish.key.as_str());
        let set = self.locks.all(keys).ttl(Duration::from_nanos(ttl));
        let gives_up = self.gives_up();
        let taken = cut(set.try_acquire(), gives_up).await;
        let each = |tell: &dyn Fn(u32)| wishes.iter().for_each(|wish| tell(wish.lease));
        match taken {
            None => each(&|lease| self.body.tell(What::GivenUp { lease })),
            Some(Ok(Some(set))) => self.hold_several(set, &wishes).await,
            Some(Ok(None)) => each(&|lease| self.refused(lease, "Held")),
            Some(Err(error)) => {
                each(&|lease| self.refused(lease, &format!("{:?}", error.kind())));
            }
        }
    }

    async fn hold_several(&mut self, set: LeaseSet, wishes: &[Wish]) {
        for (lease, wish) in set.leases().iter().zip(wishes) {
            let token = lease.token();
            self.body.tell(What::Granted {
                lease: wish.lease,
                token,
            });
            self.look(lease, wish.lease);
            self.write(&wish.key, token);
        }
        tokio::time::sleep(millis(self.rng.u64(1..500))).await;
        for (lease, wish) in set.leases().iter().zip(wishes) {
            self.look(lease, wish.lease);
        }
        let each = |tell: &dyn Fn(u32)| wishes.iter().for_each(|wish| tell(wish.lease));
        each(&|lease| self.body.tell(What::Release { lease }));
        let ok = set.release().await.is_ok();
        each(&|lease| self.body.tell(What::Released { lease, ok }));
    }
}

fn name(key: usize) -> String {
    format!("key {key}")
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An answer in a word, and its token.
pub(crate) fn brief(answer: &Answer) -> (&'static str, u64) {
    match answer {
        Answer::Acquired(AcquireOutcome::Granted(grant)) => ("granted", grant.token),
        Answer::Acquired(AcquireOutcome::Queued(_)) => ("queued", 0),
        Answer::Acquired(_) => ("held", 0),
        Answer::Renewed(RenewOutcome::Renewed(_)) => ("renewed", 0),
        Answer::Renewed(_) => ("lost", 0),
        Answer::Released(ReleaseOutcome::Released) => ("released", 0),
        Answer::Released(_) => ("not held", 0),
    }
}

/// A lease of the other mode, or the same again where others are in the way.
async fn change(lease: Lease<Mode>) -> doclock::Result<Result<Lease<Mode>, Lease<Mode>>> {
    let reader = match Lease::<Exclusive>::try_from(lease) {
        Ok(writer) => return Ok(Ok(writer.downgrade().await?.erase())),
        Err(reader) => Lease::<Shared>::try_from(reader).expect("permits are not converted"),
    };
    Ok(match reader.try_upgrade().await? {
        Upgrade::Exclusive(writer) => Ok(writer.erase()),
        Upgrade::Held(reader) => Err(reader.erase()),
    })
}

//! This machine's clock is wrong, and nobody's lease suffers.

use std::sync::atomic::AtomicI64;
use std::time::Instant;

use doclock::{
    Backend, Clock, Linger, Mode, Moment, ReleaseOutcome, RenewOutcome, RenewRequest, SystemClock,
    Timestamp,
};

use super::*;

/// What the emulators' clock differs from a sane one at most, with `Date`'s resolution and the pad.
const PAD_MS: i64 = 1500;

/// The machine's clock, set wrong.
#[derive(Debug)]
struct WrongClock {
    ahead_ms: AtomicI64,
    frozen: Option<Moment>,
}

impl WrongClock {
    fn ahead(ms: i64) -> Arc<Self> {
        Arc::new(Self {
            ahead_ms: AtomicI64::new(ms),
            frozen: None,
        })
    }

    fn frozen() -> Arc<Self> {
        Arc::new(Self {
            ahead_ms: AtomicI64::new(0),
            frozen: Some(SystemClock.now()),
        })
    }
}

impl Clock for WrongClock {
    fn now(&self) -> Moment {
        let mut now = self.frozen.unwrap_or_else(|| SystemClock.now());
        let ahead = self.ahead_ms.load(Ordering::SeqCst);
        now.wall = Timestamp::from_millis(now.wall.as_millis() + ahead);
        now
    }
}

type MakeClock = fn() -> Arc<WrongClock>;

/// Each is made just before it is used, or a frozen one would stand still for as long as the others took.
fn wrong_clocks() -> Vec<(&'static str, MakeClock)> {
    vec![
        ("an hour ahead", || WrongClock::ahead(3_600_000)),
        ("an hour behind", || WrongClock::ahead(-3_600_000)),
        ("0.9 s ahead", || WrongClock::ahead(900)),
        ("0.9 s behind", || WrongClock::ahead(-900)),
        ("frozen", WrongClock::frozen),
    ]
}

on_both! {
    async fn a_wrong_clock_steals_nothing(server: Server) {
        let (sane, table) = server.backend().await?;
        let mine = request("key", Mode::Exclusive)?;
        granted(&sane, &mine).await?;
        let before = server.item(&table, "key").await?;
        for (what, clock) in wrong_clocks() {
            let thief = server.cold(&table).clock(clock());
            for _ in 0..2 {
                for waiting in [false, true] {
                    let mut theft = request("key", Mode::Exclusive)?;
                    theft.waiting = waiting;
                    let contention = held(&thief, &theft).await.context(what)?;
                    let left = contention.occupants[0].expires_in;
                    assert!(left > Duration::from_secs(8), "{what}: {left:?}");
                    assert!(left < Duration::from_secs(16), "{what}: {left:?}");
                }
            }
            assert_eq!(server.item(&table, "key").await?, before, "{what}");
        }
    }

    /// A first request may write a wrong expiry; it says so, and the renewal it asks for puts it right.
    async fn a_wrong_expiry_is_put_right(server: Server) {
        let (sane, table) = server.backend().await?;
        for (index, (what, clock)) in wrong_clocks().into_iter().enumerate() {
            let key = format!("key-{index}");
            let first = request(&key, Mode::Exclusive)?;
            granted(&sane, &first).await?;
            release(&sane, &first).await?;

            let backend = server.cold(&table).clock(clock());
            let mine = request(&key, Mode::Exclusive)?;
            let grant = granted(&backend, &mine).await.context(what)?;
            assert!(grant.validity.valid_for <= mine.ttl.as_duration(), "{what}");
            let hours_off = what.contains("hour");
            assert_eq!(grant.validity.refresh, hours_off, "{what}: {grant:?}");
            let mut renewal = RenewRequest::new(&mine, grant.token, 2);
            renewal.restamp = true;
            let RenewOutcome::Renewed(validity) = backend.renew(&renewal).await? else {
                bail!("{what}: lost")
            };
            assert!(!validity.refresh, "{what}: {validity:?}");
            assert!(validity.valid_for > Duration::from_secs(9), "{what}: {validity:?}");
            let holder = &record(&sane, &mine.key).await?.holders[0];
            let now = SystemClock.now().wall.as_millis();
            let left = holder.expires_at.as_millis() - now;
            assert!((10_000..=10_000 + PAD_MS + 2500).contains(&left), "{what}: {left}");
            let granted = holder.acquired_at.as_millis() - now;
            assert!((-1500..=2500).contains(&granted), "{what}: {granted}");
        }
    }

    /// On a cold start a renewal never takes from a lease: the answer before it may have been the sane one.
    async fn an_unverified_renewal_keeps_the_later_expiry(server: Server) {
        let (sane, table) = server.backend().await?;
        let mine = request("key", Mode::Exclusive)?;
        let grant = granted(&sane, &mine).await?;
        let before = record(&sane, &mine.key).await?.holders[0].expires_at;
        let backend = server.cold(&table).clock(WrongClock::ahead(-3_600_000));
        let (sent, renewed) = server.count(backend.renew(&RenewRequest::new(&mine, grant.token, 2))).await;
        let RenewOutcome::Renewed(validity) = renewed? else { bail!("lost") };
        assert_eq!((sent, validity.seq, validity.refresh), (2, 2, false));
        let after = record(&sane, &mine.key).await?.holders[0].expires_at;
        assert!(after.saturating_add(Duration::from_secs(1)) >= before, "{after} after {before}");
    }

    /// What stays of a minimum hold is everybody's business: the time is asked for before it is written.
    /// Waiters count their turns from there: too early, and the second one passes the first.
    async fn it_became_free_when_it_was_released(server: Server) {
        let (sane, table) = server.backend().await?;
        for (index, (what, clock)) in wrong_clocks().into_iter().enumerate() {
            let mine = request(&format!("key-{index}"), Mode::Exclusive)?;
            granted(&sane, &mine).await?;
            release(&server.cold(&table).clock(clock()), &mine).await?;
            let now = Timestamp::from(std::time::SystemTime::now()).as_millis();
            let free_at = record(&sane, &mine.key).await?.free_at.context("never")?;
            let apart = (now - free_at.as_millis()).abs();
            assert!(apart <= 2 * PAD_MS, "{what}: {apart} ms");
        }
    }

    async fn a_minimum_hold_ends_in_time(server: Server) {
        let (sane, table) = server.backend().await?;
        for (index, (what, clock)) in wrong_clocks().into_iter().enumerate() {
            let mine = request(&format!("key-{index}"), Mode::Exclusive)?;
            granted(&sane, &mine).await?;
            let backend = server.cold(&table).clock(clock());
            let mut release = ending(&mine);
            release.linger = Some(Linger { ttl: secs(60), left: Duration::from_secs(50) });
            let (sent, released) = server.count(backend.release(&release)).await;
            assert_eq!((sent, released?), (2, ReleaseOutcome::Released), "{what}");
            let rest = &record(&sane, &mine.key).await?.holders[0];
            let left = rest.expires_at.as_millis() - SystemClock.now().wall.as_millis();
            assert!((49_000..=53_000).contains(&left), "{what}: {left}");
        }
    }

    /// A step of the wall clock in the middle of a process's life.
    async fn a_step_steals_nothing(server: Server) {
        let (sane, table) = server.backend().await?;
        let clock = WrongClock::ahead(0);
        let backend = server.cold(&table).clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let mine = request("mine", Mode::Exclusive)?;
        let mut seq = 1;
        let token = granted(&backend, &mine).await?.token;
        granted(&sane, &request("theirs", Mode::Exclusive)?).await?;
        for step in [3_600_000, -7_200_000, 3_600_000, 900] {
            clock.ahead_ms.fetch_add(step, Ordering::SeqCst);
            held(&backend, &request("theirs", Mode::Exclusive)?).await?;
            let mut validity;
            loop {
                seq += 1;
                let mut renewal = RenewRequest::new(&mine, token, seq);
                renewal.restamp = true;
                let RenewOutcome::Renewed(renewed) = backend.renew(&renewal).await? else {
                    bail!("lost after a step of {step}")
                };
                validity = renewed;
                if !validity.refresh {
                    break;
                }
            }
            assert!(validity.valid_for > Duration::from_secs(9), "{step}: {validity:?}");
            let left = record(&sane, &mine.key).await?.holders[0].expires_at.as_millis()
                - SystemClock.now().wall.as_millis();
            assert!((10_000..=10_000 + PAD_MS + 2500).contains(&left), "{step}: {left}");
        }
    }

    /// A dead holder with a wrong clock does not keep a lock for an hour.
    async fn an_implausible_expiry_is_written_down(server: Server) {
        let (sane, table) = server.backend().await?;
        let first = request("key", Mode::Exclusive)?;
        granted(&sane, &first).await?;
        release(&sane, &first).await?;
        let crashed = server.cold(&table).clock(WrongClock::ahead(3_600_000));
        let mut short = request("key", Mode::Exclusive)?;
        short.ttl = Ttl::new(Duration::from_millis(200))?;
        granted(&crashed, &short).await?;
        let started = Instant::now();
        let heir = request("key", Mode::Exclusive)?;
        while let AcquireOutcome::Held(contention) = sane.acquire(&heir).await? {
            assert!(started.elapsed() < Duration::from_secs(10), "{contention:?}");
            tokio::time::sleep(contention.free_in.min(Duration::from_millis(250))).await;
        }
    }
}

async fn release(backend: &DynamoBackend, request: &AcquireRequest) -> Result<()> {
    let release = doclock::ReleaseRequest::new(&request.key, &request.owner, &request.id);
    backend.release(&release).await?;
    Ok(())
}

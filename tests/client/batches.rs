//! Renewals that are due together go out together, on a backend that takes several at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Error, ErrorKind, Key, Lease, LockClient, LockRecord,
    MemoryBackend, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result,
};

use crate::{TTL, Virtual, pass, secs};

/// How many it takes.
const SIZE: usize = 25;

/// How long it takes.
const LATENCY: Duration = Duration::from_millis(20);

/// What befalls a batch that has a key of this prefix.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It takes all the time that it has, and fails.
    Hang,
    Throttled,
    /// Only the first half is answered.
    Short,
    /// It has its turn after all that came before it, and takes so long then, whether or not anybody waits for it still.
    Queue(Duration),
}

#[derive(Clone, Debug)]
struct Batching {
    inner: MemoryBackend,
    sent: Arc<Mutex<Vec<usize>>>,
    faults: Arc<Mutex<Option<(&'static str, Fault)>>>,
    turns: Arc<tokio::sync::Mutex<()>>,
}

impl Batching {
    fn new() -> Self {
        Self {
            inner: MemoryBackend::with_clock(Arc::new(Virtual::begin())),
            sent: Arc::default(),
            faults: Arc::default(),
            turns: Arc::default(),
        }
    }

    fn suffer(&self, fault: Option<(&'static str, Fault)>) {
        *self.faults.lock().unwrap() = fault;
    }

    async fn renew_in_turn(
        &self,
        requests: &[RenewRequest],
        takes: Duration,
    ) -> Vec<Result<RenewOutcome>> {
        let patience = requests.iter().map(|request| request.timeout).min();
        let (backend, requests) = (self.clone(), requests.to_vec());
        let work = tokio::spawn(async move {
            let _turn = backend.turns.lock().await;
            tokio::time::sleep(takes).await;
            backend.renew_each(&requests).await
        });
        let worked = tokio::time::timeout(patience.unwrap(), work).await;
        worked.map(std::result::Result::unwrap).unwrap_or_default()
    }

    async fn renew_each(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        let mut outcomes = Vec::new();
        for request in requests {
            outcomes.push(self.inner.renew(request).await);
        }
        outcomes
    }

    /// How many renewals each request had, since the last call.
    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

#[async_trait]
impl Backend for Batching {
    fn renewals_at_once(&self) -> usize {
        SIZE
    }

    async fn renew_many(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        self.sent.lock().unwrap().push(requests.len());
        let fault = *self.faults.lock().unwrap();
        let suffers = |prefix: &str| {
            requests
                .iter()
                .any(|request| request.key.as_str().starts_with(prefix))
        };
        let kind = match fault.filter(|(prefix, _)| suffers(prefix)) {
            None => {
                tokio::time::sleep(LATENCY).await;
                return self.renew_each(requests).await;
            }
            Some((_, Fault::Short)) => {
                let (first, _) = requests.split_at(requests.len().div_ceil(2));
                return self.renew_each(first).await;
            }
            Some((_, Fault::Queue(takes))) => return self.renew_in_turn(requests, takes).await,
            Some((_, Fault::Throttled)) => ErrorKind::Throttled,
            Some((_, Fault::Hang)) => {
                tokio::time::sleep(
                    requests
                        .iter()
                        .map(|request| request.timeout)
                        .min()
                        .unwrap(),
                )
                .await;
                ErrorKind::OutcomeUnknown
            }
        };
        requests
            .iter()
            .map(|_| Err(Error::new(kind, "scripted")))
            .collect()
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.renew_many(std::slice::from_ref(request))
            .await
            .remove(0)
    }

    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.inner.acquire(request).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.inner.release(request).await
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.inner.inspect(key).await
    }

    async fn setup(&self) -> Result<()> {
        self.inner.setup().await
    }
}

async fn acquire(client: &LockClient, prefix: &str, count: usize, apart: Duration) -> Vec<Lease> {
    let mut leases = Vec::new();
    for n in 0..count {
        leases.push(
            client
                .lock(format!("{prefix}{n}"))
                .ttl(TTL)
                .acquire()
                .await
                .unwrap(),
        );
        pass(apart).await;
    }
    leases
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_due_at_once_are_batches() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let leases = acquire(&client, "k", 60, Duration::ZERO).await;
    pass(secs(11)).await;
    assert_eq!(backend.take(), [25, 25, 10]);
    pass(TTL * 10).await;
    assert_eq!(backend.take().len(), 90, "at each third of the ttl");
    assert!(leases.iter().all(Lease::is_held));
}

#[tokio::test(start_paused = true)]
async fn leases_that_were_granted_one_by_one_settle_into_batches() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let leases = acquire(&client, "k", 100, Duration::from_millis(50)).await;
    pass(secs(100)).await;
    backend.take();
    pass(secs(100)).await;
    let sent = backend.take();
    assert!(
        (1000..=1100).contains(&sent.iter().sum::<usize>()),
        "at each third, hardly sooner: {sent:?}"
    );
    assert!(sent.len() <= 44, "{sent:?}");
    assert!(leases.iter().all(Lease::is_held));
}

#[tokio::test(start_paused = true)]
async fn a_single_lease_is_a_renewal() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let _lease = acquire(&client, "k", 1, Duration::ZERO).await;
    pass(secs(11)).await;
    assert_eq!(backend.take(), [1]);
}

/// More are lost than may be under way at once, those of one key range, and no other.
#[tokio::test(start_paused = true)]
async fn a_batch_that_hangs_or_is_throttled_makes_no_other_late() {
    for fault in [Fault::Hang, Fault::Throttled] {
        let backend = Batching::new();
        let client = crate::client(backend.clone());
        let bad = acquire(&client, "bad", 2000, Duration::ZERO).await;
        let good = acquire(&client, "good", 2000, Duration::ZERO).await;
        backend.suffer(Some(("bad", fault)));
        pass(TTL * 4).await;
        assert!(bad.iter().all(|lease| !lease.is_held()), "{fault:?}");
        assert!(good.iter().all(Lease::is_held), "{fault:?}");
    }
}

/// One that needs longer for all of them than until they are due again.
#[tokio::test(start_paused = true)]
async fn a_database_that_can_hardly_keep_up_gets_no_more_than_it_does() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let leases = acquire(&client, "k", 10_000, Duration::from_millis(1)).await;
    backend.suffer(Some(("k", Fault::Queue(Duration::from_millis(38)))));
    pass(TTL).await;
    backend.take();
    pass(TTL * 10).await;
    let sent = backend.take();
    assert!(sent.iter().all(|size| *size == SIZE), "again and again");
    assert!(leases.iter().all(Lease::is_held));
}

/// It is told from the others in time.
#[tokio::test(start_paused = true)]
async fn one_that_hangs_takes_nobody_along() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let bad = acquire(&client, "bad", 1, Duration::ZERO).await;
    let good = acquire(&client, "good", SIZE * 2, Duration::ZERO).await;
    backend.suffer(Some(("bad", Fault::Hang)));
    pass(TTL * 4).await;
    assert!(!bad[0].is_held());
    assert!(good.iter().all(Lease::is_held));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_a_batch_stays_one() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let leases = acquire(&client, "k", SIZE, Duration::ZERO).await;
    backend.suffer(Some(("k", Fault::Throttled)));
    pass(secs(15)).await;
    backend.suffer(None);
    pass(secs(100)).await;
    assert!(backend.take().iter().all(|size| *size == SIZE));
    assert!(leases.iter().all(Lease::is_held));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_lost_is_lost_alone() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let leases = acquire(&client, "k", SIZE, Duration::ZERO).await;
    let gone = leases[7].key().clone();
    backend.inner.force_release(&gone).await.unwrap();
    pass(secs(11)).await;
    assert_eq!(backend.take(), [SIZE]);
    for (index, lease) in leases.iter().enumerate() {
        assert_eq!(lease.is_held(), index != 7, "{index}");
    }
}

/// Those that were not answered are asked for again, and they are the first then.
#[tokio::test(start_paused = true)]
async fn what_is_not_answered_is_not_lost() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let leases = acquire(&client, "k", SIZE, Duration::ZERO).await;
    backend.suffer(Some(("k", Fault::Short)));
    pass(TTL * 4).await;
    assert!(leases.iter().all(Lease::is_held));
}

/// As many as one client may well hold: a request for each 25 of them in each third of the ttl.
#[tokio::test(start_paused = true)]
async fn ten_thousand_leases_are_four_hundred_requests() {
    let backend = Batching::new();
    let client = crate::client(backend.clone());
    let leases = acquire(&client, "k", 10_000, Duration::from_millis(3)).await;
    pass(TTL).await;
    backend.take();
    pass(TTL).await;
    let sent = backend.take().len();
    assert!((1200..=1230).contains(&sent), "three times 400: {sent}");
    assert!(leases.iter().all(Lease::is_held));
}

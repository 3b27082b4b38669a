//! The client: what a program has one of.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::lock::Lock;
use crate::record::ListPage;
use crate::sync::Mutex;
use crate::telemetry::{Hook, Redact, Telemetry};
use crate::time::{Clock, SystemClock};
use crate::worker::Worker;
use crate::{
    Error, ErrorKind, Event, Holder, Key, LockRecord, Mode, Owner, Permit, Result, Shared,
};

/// How long one request may take unless [`LockClientBuilder::request_timeout`] says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes locks in one backend. Make one per program and clone it: clones share one background task.
///
/// Making a client sends nothing. Its task starts with the first acquisition, on the runtime of that call, and ends
/// with the last clone and lease. If that runtime ends before, the next acquisition starts a new task.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// use std::time::Duration;
/// use doclock::{LockClient, MemoryBackend};
///
/// let locks = LockClient::new(MemoryBackend::new());
/// let lease = locks
///     .lock("item:1")
///     .ttl(Duration::from_secs(10))
///     .wait(Duration::from_secs(5))
///     .acquire()
///     .await?;
/// println!("fencing token {}", lease.token());
/// lease.release().await?;
/// locks.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LockClient(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) request_timeout: Duration,
    pub(crate) worker: Worker,
    pub(crate) telemetry: Arc<Telemetry>,
    turns: Mutex<HashMap<(Key, Owner), Weak<Semaphore>>>,
}

impl LockClient {
    /// A client with the usual settings. Sends nothing.
    #[must_use]
    pub fn new(backend: impl Backend) -> Self {
        Self::builder(backend).build()
    }

    /// A client with settings of one's own.
    pub fn builder(backend: impl Backend) -> LockClientBuilder {
        LockClientBuilder {
            backend: Arc::new(backend),
            clock: Arc::new(SystemClock),
            request_timeout: REQUEST_TIMEOUT,
            hook: None,
            redact: None,
        }
    }

    /// Describes an exclusive lock on `key`, to be acquired by [`Lock::acquire`], [`Lock::try_acquire`] or
    /// [`Lock::run`]. A key that can't be one is reported there.
    ///
    /// It is the writer's side of a read-write lock, too: [`shared`](Self::shared) is the readers'.
    pub fn lock(&self, key: impl Into<String>) -> Lock {
        Lock::new(self.clone(), key.into(), Mode::Exclusive)
    }

    /// Describes a shared lock on `key`: any number of holders, up to 256, and no exclusive one beside them. The readers'
    /// side of a read-write lock.
    ///
    /// A writer that waits is not starved: readers that come later stand behind it in the queue.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
    /// let reader = locks.shared("catalogue").acquire().await?;
    /// let another = locks.shared("catalogue").acquire().await?;
    /// assert!(locks.lock("catalogue").try_acquire().await?.is_none());
    /// # drop((reader, another));
    /// # Ok(()) }
    /// ```
    pub fn shared(&self, key: impl Into<String>) -> Lock<Shared> {
        Lock::new(self.clone(), key.into(), Mode::Shared)
    }

    /// Describes one of `limit` permits on `key`, 1 to 256: a semaphore.
    ///
    /// The newest request's limit rules. Raised, it lets more in at once; lowered, it ends no lease: nobody gets in until
    /// fewer than the new limit are held. While processes with different limits run side by side, as during a deployment,
    /// each of them keeps to its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
    /// let permit = locks.semaphore("mailer", 2).acquire().await?;
    /// let second = locks.semaphore("mailer", 2).acquire().await?;
    /// assert!(locks.semaphore("mailer", 2).try_acquire().await?.is_none());
    /// # drop((permit, second));
    /// # Ok(()) }
    /// ```
    pub fn semaphore(&self, key: impl Into<String>, limit: u32) -> Lock<Permit> {
        Lock::new(self.clone(), key.into(), Mode::Permit { limit })
    }

    /// Describes a lock whose mode is chosen at run time: as [`lock`](Self::lock), [`shared`](Self::shared) or
    /// [`semaphore`](Self::semaphore), but for what a mode must be known for when the program is compiled.
    pub fn lock_as(&self, key: impl Into<String>, mode: Mode) -> Lock<Mode> {
        Lock::new(self.clone(), key.into(), mode)
    }

    /// Reads what the database knows of a key: who holds it, with which label and data. For people and for
    /// monitoring; a decision that rests on it is a race.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an impossible key, [`ErrorKind::CorruptRecord`] if something else lies there,
    /// or why the database could not be read.
    pub async fn inspect(&self, key: impl AsRef<str>) -> Result<Option<LockRecord>> {
        self.0.backend.inspect(&Key::new(key)?).await
    }

    /// Lists the records whose keys start with `prefix`, a page at a time: `page` is `None`, then
    /// [`ListPage::next`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the backend cannot, or why the database could not be read.
    pub async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        self.0.backend.list(prefix, page).await
    }

    /// Ends every lease on a key, whoever holds it, and returns those that it ended. For operators: the holder may be
    /// alive, and learns it at its next renewal only.
    ///
    /// # Errors
    ///
    /// As [`inspect`](Self::inspect), or why the database could not be written.
    pub async fn force_release(&self, key: impl AsRef<str>) -> Result<Vec<Holder>> {
        self.0.backend.force_release(&Key::new(key)?).await
    }

    /// Makes the table or index that the backend needs, and checks that the server can do the work. Idempotent; once
    /// per deployment is enough.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::NotSetUp`] if something else stands in its place,
    /// [`ErrorKind::Unsupported`] for a server that can't be used, or why it could not be reached.
    pub async fn setup(&self) -> Result<()> {
        self.0.backend.setup().await
    }

    /// Releases what is held, waits for all releases that are under way, and ends the client's task. Later
    /// acquisitions, by any clone, fail with [`ErrorKind::Closed`]; leases still held are lost.
    ///
    /// Call it before a process ends or a function freezes: releases of dropped leases are only handed over by `Drop`.
    pub async fn shutdown(&self) {
        self.0.worker.shutdown().await;
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    /// What tasks of this client with the same explicit owner take turns by, for one key.
    pub(crate) fn turns(&self, key: &Key, owner: &Owner) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let slot = turns.entry((key.clone(), owner.clone())).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let fresh = Arc::new(Semaphore::new(1));
            *slot = Arc::downgrade(&fresh);
            fresh
        })
    }
}

impl fmt::Debug for LockClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockClient")
            .field("backend", &self.0.backend)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`LockClient`].
#[must_use = "call `build`"]
pub struct LockClientBuilder {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    request_timeout: Duration,
    hook: Option<Hook>,
    redact: Option<Redact>,
}

impl LockClientBuilder {
    /// How long one request to the database may take before it counts as lost and is sent again; 5 s by default.
    /// Also the most that [`Lock::try_acquire`] takes in all.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Other clocks than the machine's, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `hook` of each thing that happens to the client's locks: see [`Event`]. There is one hook; the last one
    /// counts.
    ///
    /// It runs where the thing happens, mostly on the client's task, and **must not block**: all renewals wait for it.
    /// Count, or send a clone of the event to a channel. If it panics, an error is logged, and everything goes on, the
    /// hook as well.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// use doclock::{EventKind, LockClient, MemoryBackend};
    ///
    /// let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
    /// let locks = LockClient::builder(MemoryBackend::new())
    ///     .on_event(move |event| drop(events.send(event.clone())))
    ///     .build();
    /// locks.lock("item:1").acquire().await?.release().await?;
    /// while let Some(event) = told.recv().await {
    ///     match event.kind {
    ///         EventKind::Acquired { effort, .. } => println!("{} after {:?}", event.key, effort.took),
    ///         EventKind::Lost { why, .. } => eprintln!("{} is lost: {why:?}", event.key),
    ///         EventKind::Released { held, .. } => {
    ///             println!("{} was held for {held:?}", event.key);
    ///             break;
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Shows keys and owners in logs as `redact` writes them, and errors there by their kind alone: for keys that tell of
    /// people. For what the client logs by `tracing`; [what is not covered](crate::docs::observability#redaction) is
    /// little. Metrics have no keys anyway, and the hook and errors, which are the program's own, have them as they are.
    ///
    /// ```
    /// # use doclock::{LockClient, MemoryBackend};
    /// // `user:ada@example.org` becomes `user:…`.
    /// let locks = LockClient::builder(MemoryBackend::new())
    ///     .redact(|name| match name.split_once(':') {
    ///         Some((kind, _)) => format!("{kind}:…"),
    ///         None => "…".to_owned(),
    ///     })
    ///     .build();
    /// ```
    pub fn redact(mut self, redact: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.redact = Some(Box::new(redact));
        self
    }

    /// Makes the client. Sends nothing.
    #[must_use]
    pub fn build(self) -> LockClient {
        let telemetry = Telemetry::new(self.backend.database(), self.hook, self.redact);
        let telemetry = Arc::new(telemetry);
        let worker = Worker::new(
            Arc::clone(&self.backend),
            Arc::clone(&self.clock),
            Arc::clone(&telemetry),
        );
        LockClient(Arc::new(Inner {
            backend: self.backend,
            clock: self.clock,
            request_timeout: self.request_timeout.max(Duration::from_millis(1)),
            worker,
            telemetry,
            turns: Mutex::default(),
        }))
    }
}

impl fmt::Debug for LockClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockClientBuilder")
            .field("backend", &self.backend)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

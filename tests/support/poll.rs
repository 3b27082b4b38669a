//! Waiting for a condition, never for a time.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Short enough that a test does not feel it, long enough that two cores do not either.
const PAUSE: Duration = Duration::from_millis(20);

/// Tries until the answer is there. After `bound` an error says what was waited for.
pub async fn until_some<T, F>(
    what: &str,
    bound: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + bound;
    loop {
        if let Some(answer) = probe().await {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {bound:?} in vain: {what}");
        }
        sleep(PAUSE).await;
    }
}

/// Tries until the condition holds. After `bound` an error says what was waited for.
pub async fn until<F>(what: &str, bound: Duration, mut probe: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = bool>,
{
    until_some(what, bound, || {
        let holds = probe();
        async move { holds.await.then_some(()) }
    })
    .await
}

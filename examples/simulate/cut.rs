//! Futures that are dropped before they are ready.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Drops a future after so many polls or so much time, whichever comes first; `None` then.
pub(crate) async fn cut<F: Future>(future: F, after: Option<(u32, Duration)>) -> Option<F::Output> {
    let Some((polls, time)) = after else {
        return Some(future.await);
    };
    let mut future = pin!(future);
    let mut polled = 0;
    let few_polls = poll_fn(|context| {
        let ready = future.as_mut().poll(context);
        polled += 1;
        match ready {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled >= polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    tokio::time::timeout(time, few_polls).await.ok().flatten()
}

//! What becomes of many renewals that are sent together.

use doclock::{Backend, ErrorKind, RenewOutcome, RenewRequest};

/// Which attempt of each stands, by its outcome; of one that is lost none, of one that failed what failed.
pub async fn seqs(
    backend: &dyn Backend,
    renewals: &[RenewRequest],
) -> Vec<Result<Option<u64>, ErrorKind>> {
    let outcomes = backend.renew_many(renewals).await;
    assert_eq!(outcomes.len(), renewals.len());
    let seq = |outcome| match outcome {
        RenewOutcome::Renewed(validity) => Some(validity.seq),
        _ => None,
    };
    let outcomes = outcomes.into_iter();
    outcomes
        .map(|outcome| outcome.map(seq).map_err(|error| error.kind()))
        .collect()
}

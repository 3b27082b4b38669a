//! Renewing many leases at once.

use super::Fixture;
use super::scene::{LONG, Scene, renewal, succeeded};
use crate::{RenewOutcome, RenewRequest};

/// The outcomes of [`renew_many`](crate::Backend::renew_many) stand in the order of the requests, whatever they are,
/// also for two leases of one key.
pub async fn many_renewals_answer_in_their_order(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-many").await;
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for round in 0..9 {
        let scene = scene.beside("renew-many");
        let (first, second) = (scene.shared(LONG), scene.shared(LONG));
        let (one, two) = (scene.granted(&first).await, scene.granted(&second).await);
        if round % 3 == 1 {
            scene.released(&first).await;
        }
        requests.extend([renewal(&first, &one, 2), renewal(&second, &two, 2 + round)]);
        expected.extend([(round % 3 != 1).then_some(2), Some(2 + round)]);

        let absent = scene.beside("renew-many").exclusive(LONG);
        requests.push(RenewRequest::new(&absent, 1, 2));
        expected.push(None);

        let other = scene.beside("renew-many");
        let exclusive = other.exclusive(LONG);
        let grant = other.granted(&exclusive).await;
        other.renewed(&renewal(&exclusive, &grant, 50)).await;
        requests.push(renewal(&exclusive, &grant, 7));
        expected.push(Some(50));
    }
    let outcomes = scene.backend.renew_many(&requests).await;
    let seqs = outcomes
        .into_iter()
        .map(|outcome| match succeeded("renew_many", outcome) {
            RenewOutcome::Renewed(validity) => Some(validity.seq),
            RenewOutcome::Lost => None,
        });
    assert_eq!(
        seqs.collect::<Vec<_>>(),
        expected,
        "standing attempts, `None` is lost"
    );
    for (request, seq) in requests.iter().zip(expected) {
        let scene = scene.on(request.key.clone());
        let record = scene.inspect().await;
        let standing = record
            .as_ref()
            .and_then(|record| record.holder(&request.id));
        assert_eq!(standing.map(|holder| holder.seq), seq, "{record:?}");
    }
}

/// No renewals are no outcomes.
pub async fn many_renewals_may_be_none(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-none").await;
    assert!(scene.backend.renew_many(&[]).await.is_empty());
}

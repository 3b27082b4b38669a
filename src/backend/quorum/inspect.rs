//! What is done at all members alike: looking, setting up, ending by force.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::decide::{Tally, Vote, majority};
use super::error::{no_answer, short};
use super::{Member, QuorumBackend, merge};
use crate::backend::{READ_TIMEOUT, SETUP_TIMEOUT};
use crate::{Holder, Key, LockRecord, Result};

/// How long the slower members are waited for once a majority has answered, at least: when looking, and when setting up.
const GRACE: Duration = Duration::from_millis(200);
const SETUP_GRACE: Duration = Duration::from_secs(20);

impl QuorumBackend {
    pub(super) async fn look(&self, key: &Key) -> Result<Option<LockRecord>> {
        let key = key.clone();
        let ask = move |member: Member| {
            let key = key.clone();
            async move { member.inspect(&key).await }
        };
        let answers = self.all(READ_TIMEOUT, GRACE, ask).await?;
        let members = self.members.len();
        Ok(merge::record(&answers, members, majority(members)))
    }

    pub(super) async fn set_up(&self) -> Result<()> {
        let ask = |member: Member| async move { member.setup().await };
        self.all(SETUP_TIMEOUT, SETUP_GRACE, ask).await.map(|_| ())
    }

    pub(super) async fn end_all(&self, key: &Key) -> Result<Vec<Holder>> {
        let key = key.clone();
        let ask = move |member: Member| {
            let key = key.clone();
            async move { member.force_release(&key).await }
        };
        let mut ended: Vec<Holder> = Vec::new();
        let answers = self.all(READ_TIMEOUT, READ_TIMEOUT, ask).await?;
        for holder in answers.into_iter().flatten() {
            if ended.iter().all(|known| known.id() != holder.id()) {
                ended.push(holder);
            }
        }
        Ok(ended)
    }

    /// The answers of all members, in their order, or of a majority if the others take long: much longer than it did.
    async fn all<T, F>(
        &self,
        limit: Duration,
        grace: Duration,
        ask: impl Fn(Member) -> F,
    ) -> Result<Vec<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let start = Instant::now();
        let mut end = start + limit;
        let mut asked = JoinSet::new();
        for (number, member) in self.members.iter().enumerate() {
            let asking = ask(Arc::clone(member));
            asked.spawn(async move { (number, asking.await) });
        }
        let mut tally = Tally::new(self.members.len());
        let (mut answers, mut errors) = (Vec::new(), Vec::new());
        while let Ok(Some(joined)) = timeout_at(end, asked.join_next()).await {
            let Ok((number, answer)) = joined else {
                continue;
            };
            match answer {
                Ok(answer) => {
                    answers.push((number, answer));
                    tally.vote(number, Vote::Done);
                    if answers.len() == tally.majority() {
                        let patience = grace.max(start.elapsed() * 4);
                        end = end.min(Instant::now() + patience);
                    }
                }
                Err(error) => {
                    tracing::warn!(member = number, %error, "a member of a quorum failed");
                    tally.vote(number, Vote::Failed);
                    errors.push(error);
                }
            }
        }
        if answers.len() < tally.majority() {
            if tally.silent() > 0 {
                errors.push(no_answer());
            }
            return Err(short(&tally, errors, false));
        }
        answers.sort_by_key(|(number, _)| *number);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

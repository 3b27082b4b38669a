//! Sending a guarded write, and the second look where it matched nothing.

use ::mongodb::Collection;
use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::error::{Error as Native, Result as NativeResult};
use ::mongodb::options::{Collation, ReadConcern, ReadPreference, SelectionCriteria};

use super::super::{Guarded, invalid, no_token};
use super::error::failed;
use super::{MongoFence, pieces};
use crate::backend::mongodb::error::{Access, is_duplicate};
use crate::{Error, ErrorKind, Result};

/// How often a write is sent while others change the document between it and the look.
const TRIES: usize = 4;

/// What a user's write is meant for.
pub(super) struct Target {
    collection: Collection<Document>,
    filter: Document,
    collation: Option<Collation>,
    variables: Option<Document>,
    creates: Creates,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Creates {
    Nothing,
    /// Unless the document is there: a duplicate key may be that of a race, or of the fence.
    Missing,
    Always,
}

/// What a second look shows.
enum Seen {
    Nothing,
    Newer,
    /// What the write should have matched: it changed in between.
    Passable,
}

impl Target {
    pub(super) fn new<T: Send + Sync>(collection: &Collection<T>, filter: &Document) -> Self {
        Self {
            collection: collection.clone_with_type(),
            filter: filter.clone(),
            collation: None,
            variables: None,
            creates: Creates::Nothing,
        }
    }

    pub(super) fn upserts(mut self, upserts: bool) -> Result<Self> {
        if upserts {
            if self.collation.is_some() {
                return Err(invalid(
                    "an upsert cannot have a collation of its own: by another than the index on `_id` has, a late one would \
                     insert a second document beside the fenced one",
                ));
            }
            if !pieces::pins_id(&self.filter) {
                return Err(invalid(
                    "an upsert needs `_id` in its filter, by equality: a late one does not match the fenced document, and \
                     would insert a second one beside it",
                ));
            }
            self.creates = Creates::Missing;
        }
        Ok(self)
    }

    pub(super) fn inserts(mut self) -> Self {
        self.creates = Creates::Always;
        self
    }

    pub(super) fn compared_by(mut self, collation: Option<Collation>) -> Self {
        self.collation = collation;
        self
    }

    pub(super) fn with(mut self, variables: Option<Document>) -> Self {
        self.variables = variables;
        self
    }

    /// What the index on `_id` goes by, whatever else the filter says.
    fn by_id(&self) -> Document {
        doc! { "_id": self.filter.get("_id").cloned() }
    }

    fn created_twice(&self, error: &Native) -> bool {
        self.creates != Creates::Nothing && is_duplicate(error)
    }
}

impl MongoFence<'_> {
    /// Sends the write until it is clear what became of it.
    pub(super) async fn guarded<R, F>(
        &self,
        target: &Target,
        send: impl Fn() -> F,
        is_applied: impl Fn(&R) -> bool,
    ) -> Result<Guarded<R>>
    where
        F: Future<Output = NativeResult<R>>,
    {
        let mut duplicate = None;
        for _ in 0..TRIES {
            self.held()?;
            let missed = match send().await {
                Ok(result) if is_applied(&result) => return Ok(Guarded::Applied(result)),
                Ok(result) => Ok(result),
                Err(error) if target.created_twice(&error) => Err(error),
                Err(error) => return Err(failed(error, Access::Write)),
            };
            match (self.look(target, &target.filter).await?, missed) {
                (Seen::Newer, _) => return Ok(Guarded::Fenced),
                (Seen::Nothing, Ok(result)) => return Ok(Guarded::Applied(result)),
                (Seen::Nothing, Err(error)) => {
                    // The newer holder may have made it one that the rest of the filter does not match.
                    return match self.look(target, &target.by_id()).await? {
                        Seen::Newer => Ok(Guarded::Fenced),
                        Seen::Nothing | Seen::Passable => Err(failed(error, Access::Write)),
                    };
                }
                (Seen::Passable, Err(error)) if target.creates == Creates::Always => {
                    return Err(failed(error, Access::Write));
                }
                (Seen::Passable, missed) => duplicate = missed.err(),
            }
        }
        // Not that of a race: of another unique index.
        Err(duplicate.map_or_else(changed_too_often, |error| failed(error, Access::Write)))
    }

    /// Looks at what the user's own filter matches. What the write did not match has a newer token, or none that is one.
    ///
    /// Not with majority read concern: that may show what was before the very write that ours was refused for. A newer
    /// token that is rolled back later is a newer holder's all the same.
    async fn look(&self, target: &Target, filter: &Document) -> Result<Seen> {
        let mut find = target
            .collection
            .find_one(filter.clone())
            .projection(doc! { "_id": 0_i32, &self.field: 1_i32 })
            .read_concern(ReadConcern::local())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        if let Some(collation) = &target.collation {
            find = find.collation(collation.clone());
        }
        if let Some(variables) = &target.variables {
            find = find.let_vars(variables.clone());
        }
        let found = find.await.map_err(|error| failed(error, Access::Read))?;
        let Some(document) = found else {
            return Ok(Seen::Nothing);
        };
        let token = match document.get(&self.field) {
            None => return Ok(Seen::Passable),
            Some(Bson::Int32(token)) => i64::from(*token),
            Some(Bson::Int64(token)) => *token,
            Some(other) => {
                return Err(no_token(
                    &self.field,
                    format_args!("{:?}", other.element_type()),
                ));
            }
        };
        Ok(if token > self.token {
            Seen::Newer
        } else {
            Seen::Passable
        })
    }
}

fn changed_too_often() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the document changed {TRIES} times while it was being written: try again"),
    )
}

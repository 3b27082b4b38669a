//! The documents that came with grants, until those who were granted take them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::LeaseId;

/// By acquisition. Clones share it.
pub(crate) struct Granted<D>(Arc<Mutex<HashMap<LeaseId, D>>>);

impl<D> Granted<D> {
    pub(crate) fn keep(&self, id: &LeaseId, document: D) {
        self.documents().insert(id.clone(), document);
    }

    pub(crate) fn take(&self, id: &LeaseId) -> Option<D> {
        self.documents().remove(id)
    }

    fn documents(&self) -> MutexGuard<'_, HashMap<LeaseId, D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Default for Granted<D> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<D> Clone for Granted<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What is in the documents is nobody else's business.
impl<D> fmt::Debug for Granted<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Granted({})", self.documents().len())
    }
}

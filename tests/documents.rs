//! Locks inside of documents, on every server.

mod conformance;

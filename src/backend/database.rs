//! What logs and metrics call a backend's database.

/// Which database a backend keeps its locks in, by the names of OpenTelemetry's conventions: for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Database {
    /// `db.system.name`, such as `mongodb` or `aws.dynamodb`.
    pub system: &'static str,
    /// `db.namespace`: the database within the server, if there is such a thing.
    pub namespace: Option<String>,
    /// `db.collection.name`: the collection or table.
    pub collection: Option<String>,
}

impl Database {
    /// A kind of database, with nothing else known.
    #[must_use]
    pub fn new(system: &'static str) -> Self {
        Self {
            system,
            namespace: None,
            collection: None,
        }
    }

    /// The same, within a server.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The same, by its collection or table.
    #[must_use]
    pub fn collection(mut self, collection: impl Into<String>) -> Self {
        self.collection = Some(collection.into());
        self
    }
}

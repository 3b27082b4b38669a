use mongodb::Client;
use mongodb::options::ClientOptions;
use url::form_urlencoded;

use crate::client::invalid;
use crate::{MongoBackend, Result};

const COLLECTION: &str = "locks";

pub(super) async fn connect(url: &str) -> Result<MongoBackend> {
    let (url, collection) = take_collection(url)?;
    // The driver's error may quote the URL, and so its password: it is not passed on.
    let options = ClientOptions::parse(&url).await.map_err(|_| {
        invalid(
            "the MongoDB URL cannot be used: write mongodb://user:password@host/database?collection=locks, with \
             special characters percent-encoded, and no option that the driver does not know; mongodb+srv:// needs \
             the feature `mongodb-srv`",
        )
    })?;
    let Some(database) = options.default_database.clone() else {
        return Err(invalid(
            "the MongoDB URL names no database: write mongodb://host/database?collection=locks",
        ));
    };
    let client = Client::with_options(options)
        .map_err(|_| invalid("the options of the MongoDB URL contradict each other"))?;
    let collection = client
        .database(&database)
        .collection::<mongodb::bson::Document>(&collection);
    Ok(MongoBackend::with_collection(collection))
}

/// Takes our own option out of the URL; what is left is the driver's.
fn take_collection(url: &str) -> Result<(String, String)> {
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), COLLECTION.to_owned()));
    };
    let is_ours = |option: &&str| option.split('=').next() == Some("collection");
    let (ours, theirs): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_ours);
    let mut named = form_urlencoded::parse(ours.first().copied().unwrap_or_default().as_bytes());
    let collection = match (ours.len(), named.next()) {
        (0, _) => COLLECTION.to_owned(),
        (1, Some((_, name))) if !name.is_empty() => name.into_owned(),
        _ => {
            return Err(invalid(
                "the option `collection` must name one collection: write collection=locks",
            ));
        }
    };
    let url = if theirs.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", theirs.join("&"))
    };
    Ok((url, collection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_is_ours_and_the_rest_the_drivers() {
        for (url, base, collection) in [
            ("mongodb://h/db", "mongodb://h/db", "locks"),
            ("mongodb://h/db?collection=a%2Fb", "mongodb://h/db", "a/b"),
            (
                "mongodb://a:1,b:2/db?replicaSet=r&collection=c&w=1",
                "mongodb://a:1,b:2/db?replicaSet=r&w=1",
                "c",
            ),
        ] {
            assert_eq!(
                take_collection(url).unwrap(),
                (base.to_owned(), collection.to_owned())
            );
        }
        for bad in [
            "mongodb://h/db?collection=",
            "mongodb://h/db?collection=a&collection=b",
        ] {
            assert!(take_collection(bad).is_err(), "{bad}");
        }
    }
}

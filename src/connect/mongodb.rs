use mongodb::Client;
use mongodb::options::ClientOptions;

use crate::client::invalid;
use crate::{Error, MongoBackend, Result};

const COLLECTION: &str = "locks";

pub(super) async fn connect(url: &str) -> Result<MongoBackend> {
    let Parts {
        options,
        database,
        collection,
    } = Parts::parse(url).await?;
    let client = Client::with_options(options)
        .map_err(|_| invalid("the options of the MongoDB URL contradict each other"))?;
    let collection = client
        .database(&database)
        .collection::<mongodb::bson::Document>(&collection);
    Ok(MongoBackend::with_collection(collection))
}

pub(super) struct Parts {
    options: ClientOptions,
    database: String,
    collection: String,
}

impl Parts {
    pub(super) async fn parse(url: &str) -> Result<Self> {
        let (url, collection) = take_collection(url)?;
        // The driver panics where a character of several bytes follows a percent sign.
        if !is_percent_encoded(&url) {
            return Err(unusable());
        }
        // The driver's error may quote the URL, and so its password: it is not passed on.
        let options = ClientOptions::parse(&url).await.map_err(|_| unusable())?;
        let Some(database) = options.default_database.clone() else {
            return Err(invalid(
                "the MongoDB URL names no database: write mongodb://host/database?collection=locks",
            ));
        };
        Ok(Self {
            options,
            database,
            collection,
        })
    }
}

fn unusable() -> Error {
    invalid(
        "the MongoDB URL cannot be used: write mongodb://user:password@host/database?collection=locks, with special \
         characters percent-encoded, and no option that the driver does not know; mongodb+srv:// needs the feature \
         `mongodb-srv`",
    )
}

/// Every percent sign begins the code of a character.
fn is_percent_encoded(url: &str) -> bool {
    let is_code = |rest: &str| {
        let code = rest.as_bytes().get(..2);
        code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    };
    url.split('%').skip(1).all(is_code)
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
    }

    #[tokio::test]
    async fn a_percent_sign_begins_a_code() {
        for bad in ["%🔒", "%", "%4", "%é1", "%4é", "a%zz"] {
            let url = format!("mongodb://user:{bad}@h/db");
            let error = Parts::parse(&url).await.err().unwrap();
            assert!(error.to_string().contains("percent-encoded"), "{bad}");
        }
        let good = "mongodb://user:%F0%9f%94%92@h/db";
        assert_eq!(Parts::parse(good).await.unwrap().database, "db");
    }

    #[test]
    fn it_names_one_collection() {
        for bad in [
            "mongodb://h/db?collection=",
            "mongodb://h/db?collection=a&collection=b",
        ] {
            assert!(take_collection(bad).is_err(), "{bad}");
        }
    }
}

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use url::{Host, Url};

use crate::client::invalid;
use crate::{DynamoBackend, Result};

pub(super) async fn connect(url: &str) -> Result<DynamoBackend> {
    let parts = Parts::parse(url)?;
    let mut config = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = &parts.region {
        config = config.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &parts.endpoint {
        config = config.endpoint_url(endpoint.as_str());
        // An emulator checks no credentials, but wants some; the default chain would search the network for them.
        if is_loopback(endpoint) && std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
            let credentials = Credentials::new("local", "local", None, None, "doclock");
            config = config.credentials_provider(credentials);
        }
    }
    let client = Client::new(&config.load().await);
    let mut backend = DynamoBackend::new(client, parts.table);
    if let Some(name) = parts.partition_key {
        backend = backend.partition_key(name);
    }
    if let Some((name, value)) = parts.sort_key {
        backend = backend.sort_key(name, value);
    }
    Ok(backend)
}

#[derive(Default)]
pub(super) struct Parts {
    region: Option<String>,
    table: String,
    endpoint: Option<Url>,
    partition_key: Option<String>,
    sort_key: Option<(String, String)>,
}

impl Parts {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let url = Url::parse(url).map_err(|error| {
            invalid("the DynamoDB URL cannot be read: write dynamodb://eu-west-1/locks")
                .with_source(error)
        })?;
        refuse_credentials(&url)?;
        let table = url.path().trim_matches('/').to_owned();
        if table.is_empty() || table.contains('/') {
            return Err(invalid(
                "the DynamoDB URL names no table, or more than one: write dynamodb://eu-west-1/locks",
            ));
        }
        let mut parts = Self {
            region: url
                .host_str()
                .filter(|host| !host.is_empty())
                .map(Into::into),
            table,
            ..Self::default()
        };
        let (mut sort_name, mut sort_value) = (None, None);
        // An option that is not known is not named: it may be a piece of a password that is not percent-encoded.
        for (name, value) in url.query_pairs() {
            let value = value.into_owned();
            match name.as_ref() {
                _ if value.is_empty() => {
                    return Err(invalid("an option of the DynamoDB URL is empty"));
                }
                "endpoint" => parts.endpoint = Some(endpoint(&value)?),
                "partition_key" => parts.partition_key = Some(value),
                "sort_key" => sort_name = Some(value),
                "sort_value" => sort_value = Some(value),
                _ => {
                    return Err(invalid(
                        "the DynamoDB URL has an option that is none of endpoint, partition_key, sort_key and \
                         sort_value",
                    ));
                }
            }
        }
        parts.sort_key = match (sort_name, sort_value) {
            (None, None) => None,
            (Some(name), Some(value)) => Some((name, value)),
            _ => {
                return Err(invalid(
                    "sort_key and sort_value belong together: write sort_key=sk&sort_value=lock",
                ));
            }
        };
        Ok(parts)
    }
}

fn endpoint(text: &str) -> Result<Url> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            invalid("the option `endpoint` is no URL: write endpoint=http://localhost:8000")
        })?;
    refuse_credentials(&url)?;
    Ok(url)
}

/// They would not be used, and an endpoint is what the SDK tells its logs.
fn refuse_credentials(url: &Url) -> Result<()> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(invalid(
        "a DynamoDB URL has no user and no password: the SDK's default chain finds the credentials",
    ))
}

fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = "dynamodb://eu-west-1/locks?endpoint=http://127.0.0.1:8000&partition_key=id&sort_key=sk&sort_value=l";
        let parts = Parts::parse(url).unwrap();
        assert_eq!(parts.region.as_deref(), Some("eu-west-1"));
        assert_eq!(parts.table, "locks");
        assert!(is_loopback(&parts.endpoint.unwrap()));
        assert_eq!(parts.partition_key.as_deref(), Some("id"));
        assert_eq!(parts.sort_key, Some(("sk".into(), "l".into())));
        assert_eq!(Parts::parse("dynamodb:///locks").unwrap().region, None);
    }

    #[test]
    fn a_bad_url_says_what_to_write() {
        for (url, says) in [
            ("dynamodb://eu-west-1", "names no table"),
            ("dynamodb://eu-west-1/a/b", "more than one"),
            (
                "dynamodb://eu-west-1/locks?endpoint=nowhere",
                "endpoint=http://",
            ),
            ("dynamodb://eu-west-1/locks?colour=red", "none of endpoint"),
            ("dynamodb://key:secret@eu-west-1/locks", "default chain"),
            (
                "dynamodb:///locks?endpoint=http://key:secret@localhost",
                "default chain",
            ),
            ("dynamodb://eu-west-1/locks?sort_key=sk", "belong together"),
            ("dynamodb://eu-west-1/locks?partition_key=", "is empty"),
            ("dynamodb://[/locks", "cannot be read"),
        ] {
            let error = Parts::parse(url).err().unwrap();
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
    }
}

//! Whole processes that believe in another time: `libfaketime` lies to every call of theirs, the driver's and the
//! SDK's included.

use futures_util::future::try_join_all;

use super::clocks::{Wrong, does_no_harm};
use super::site::on_every_server;
use crate::support::{install, servers};

on_every_server! {
    async fn a_process_in_another_hour_does_no_harm(site: Site) {
        if servers::without("faketime") {
            return Ok(());
        }
        let _alone = site.alone().await;
        let library = install::faketime()?;
        let url = site.fresh().await?;
        let case = |name, offset, keeps_monotonic| {
            let (library, url) = (&library, &url);
            async move {
                let env = [
                    ("LD_PRELOAD", library.as_str()),
                    ("FAKETIME", offset),
                    ("FAKETIME_DONT_FAKE_MONOTONIC", keeps_monotonic),
                ];
                let result = does_no_harm(site, url, Wrong { name, env: &env, steps: &[] }).await;
                result.map_err(|error| error.context(name))
            }
        };
        try_join_all([
            case("ahead", "+1h", "0"),
            case("behind", "-1h", "0"),
            case("ahead-by-the-wall-only", "+1h", "1"),
            case("behind-by-the-wall-only", "-1h", "1"),
        ])
        .await?;
    }
}

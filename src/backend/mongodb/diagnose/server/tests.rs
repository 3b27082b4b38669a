use mongodb::bson::doc;

use super::*;
use crate::CheckStatus::{self, Fail, Ok, Warn};

#[test]
fn a_topology_is_judged_by_what_it_says_of_itself() {
    let set = |hosts: &[&str], primary: bool| {
        doc! { "setName": "rs", "hosts": hosts.to_vec(), "isWritablePrimary": primary }
    };
    for (hello, status, found, streams) in [
        (
            doc! { "isWritablePrimary": true },
            Warn,
            "standalone",
            false,
        ),
        (doc! { "msg": "isdbgrid" }, Ok, "sharded", true),
        (set(&["a:1", "b:1", "c:1"], true), Ok, "`rs` of 3", true),
        (set(&["a:1"], true), Warn, "`rs` of 1", true),
        (set(&["a:1", "b:1"], false), Fail, "not its primary", true),
    ] {
        let topology = Topology(hello);
        let check = topology.check();
        assert_eq!(check.status, status, "{check:?}");
        assert!(check.found.contains(found), "{check:?}");
        assert_eq!(topology.has_streams(), streams, "{check:?}");
    }
}

#[test]
fn the_servers_clocks_may_differ_by_the_skew() {
    let server = |ms: i64| Clocks {
        local: Timestamp::from_millis(0),
        earliest: Timestamp::from_millis(ms),
        latest: Timestamp::from_millis(ms + 1),
    };
    let skew = Duration::from_millis(500);
    let judged =
        |clocks: &[Clocks], members| -> CheckStatus { judge_clocks(clocks, members, skew).status };
    assert_eq!(judged(&[server(0), server(501)], 2), Ok);
    assert_eq!(judged(&[server(0), server(502)], 2), Fail);
    assert_eq!(judged(&[server(0), server(502)], 3), Fail);
    assert_eq!(judged(&[server(0), server(1)], 3), Warn);
}

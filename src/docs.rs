//! The guide, and longer texts.
//!
//! | page | |
//! |---|---|
//! | [start] | ten minutes to a lock, a test, and what to do when it fails |
//! | [patterns] | a page for each way to use a lock |
//! | [serverless] | on Lambda and the like |
//! | [operations] | the command, a runbook, incidents |
//! | [safety] | what is promised under which fault, and the least rights |
//! | [performance] | what it costs, measured |
//! | [databases] | which servers, and what is made there |
//! | [faq] | questions |
//!
//! And besides: [what a lock cannot do](limits), [observability], [coming from another lock](migrating), and
//! [the protocol](protocol).

#[cfg(all(feature = "mongodb", feature = "dynamodb"))]
#[doc = include_str!("../docs/start.md")]
pub mod start {}

#[cfg(all(feature = "mongodb", feature = "dynamodb"))]
#[doc = include_str!("../docs/operations.md")]
pub mod operations {}

#[cfg(all(feature = "mongodb", feature = "dynamodb"))]
#[doc = include_str!("../docs/databases.md")]
pub mod databases {}

#[cfg(all(feature = "mongodb", feature = "dynamodb"))]
#[doc = include_str!("../docs/faq.md")]
pub mod faq {}

#[cfg(all(feature = "mongodb", feature = "dynamodb"))]
#[doc = include_str!("../docs/migrating.md")]
pub mod migrating {}

#[doc = include_str!("../docs/protocol.md")]
pub mod protocol {}

#[doc = include_str!("../docs/performance.md")]
pub mod performance {}

#[doc = include_str!("../docs/safety.md")]
pub mod safety {}

#[doc = include_str!("../docs/observability.md")]
pub mod observability {}

#[cfg(all(feature = "mongodb", feature = "dynamodb"))]
#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/serverless.md")]
pub mod serverless {}

/// A page for each way to use a lock: the shortest code, what happens when things go wrong, what is not guaranteed, and the
/// traps.
pub mod patterns {
    // The pages link to files, for those who read them in the repository. Where a link is defined twice, Markdown takes the
    // first: `rustdoc.md` defines all of them for this place.
    macro_rules! page {
        ($name:ident, $file:literal) => {
            #[doc = include_str!("../docs/patterns/rustdoc.md")]
            #[doc = include_str!($file)]
            pub mod $name {}
        };
    }

    page!(read_write, "../docs/patterns/read_write.md");
    page!(semaphore, "../docs/patterns/semaphore.md");
    page!(fair_queue, "../docs/patterns/fair_queue.md");
    page!(leader_election, "../docs/patterns/leader_election.md");
    page!(scheduled_jobs, "../docs/patterns/scheduled_jobs.md");
    page!(once, "../docs/patterns/once.md");
    page!(several_keys, "../docs/patterns/several_keys.md");
    page!(reentrance, "../docs/patterns/reentrance.md");
    page!(fencing, "../docs/patterns/fencing.md");
    #[cfg(all(feature = "mongodb", feature = "dynamodb"))]
    page!(document_lock, "../docs/patterns/document_lock.md");
    page!(quorum, "../docs/patterns/quorum.md");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Label and target of each link that a page defines.
    fn links(page: &str) -> impl Iterator<Item = (&str, &str)> {
        let definitions = page.lines().filter_map(|line| line.split_once("]: "));
        definitions.filter(|(label, _)| label.starts_with('['))
    }

    #[test]
    fn the_links_of_the_pages_lead_somewhere_in_the_repository_and_in_rustdoc() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/patterns");
        let rustdoc = include_str!("../docs/patterns/rustdoc.md");
        let mut seen = 0;
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            if file.ends_with("rustdoc.md") {
                continue;
            }
            let page = fs::read_to_string(&file).unwrap();
            for (label, target) in links(&page) {
                let target = target.split('#').next().unwrap_or(target);
                let name = file.display();
                assert!(folder.join(target).exists(), "{name}: {target} is missing");
                let is_known = links(rustdoc).any(|(known, _)| known == label);
                assert!(is_known, "{name}: {label}] is not in rustdoc.md");
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen} links");
    }
}

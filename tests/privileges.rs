//! The privileges that `docs/safety.md` names are enough, and none of them is too many.

pub mod divided;
mod documents;
pub mod dynamodb;
pub mod mongodb;
mod watching;

use serde_json::Value;

const PAGE: &str = include_str!("../docs/safety.md");

/// The blocks of JSON under a heading of the page, in their order.
fn blocks(heading: &str) -> Vec<Value> {
    let (_, section) = PAGE.split_once(heading).expect(heading);
    let section = section.split("\n#").next().unwrap_or_default();
    let blocks = section.split("```json\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    blocks
        .map(|block| serde_json::from_str(block).expect(heading))
        .collect()
}

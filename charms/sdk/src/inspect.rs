//! The inspect role: the charm's own inspector first, then those for what every charm may get: java, python, jars.
//! Must not write, nor read more than facts need.

mod jars;
mod java;
mod python;

use std::path::Path;

use anyhow::ensure;

use crate::{Facts, InspectFn};

/// The facts of a tree, or none where it is no such product.
type Inspector = fn(&Path) -> anyhow::Result<Option<Facts>>;

const OWN: [(&str, Inspector); 3] = [("java", java::facts), ("python", python::facts), ("jars", jars::facts)];

/// Facts of a tree of `product` (`-` = any), or none where nobody knows it.
pub(crate) fn facts(charm: Option<InspectFn>, product: &str, tree: &Path) -> anyhow::Result<Option<Facts>> {
    ensure!(tree.is_dir(), "cannot inspect `{}`: it is not a folder", tree.display());
    if let Some(charm) = charm
        && let Some(facts) = charm(product, tree)?
    {
        return Ok(Some(facts));
    }
    for (name, inspect) in OWN {
        if product == "-" || product == name {
            let found = inspect(tree)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

//! Derived trees: a base, less some paths, plus some of other builds. Owns the arithmetic of manifests; must not
//! touch the disk. Equal results are equal trees, whatever they were derived from.

use serde::{Deserialize, Serialize};
use stoker_model::ids::Digest;

use super::error::{BuildError, DeriveFault, Fault};
use super::layout::put;
use super::manifest::{Manifest, Node};
use super::name;

/// What to derive. Dropping comes before taking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derive {
    /// The build to begin with.
    pub base: Digest,
    /// Paths to leave out, folders with what is in them.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Files (or folders with what is in them) to put in.
    #[serde(default)]
    pub take: Vec<Take>,
}

/// One thing taken from another build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// The build it is in.
    pub from: Digest,
    /// Its path there.
    pub path: String,
    /// Its path in the derived tree; there must be nothing.
    pub to: String,
}

/// The derived manifest. `load` finds the manifests of builds.
pub(super) fn derive(
    spec: &Derive,
    mut load: impl FnMut(&Digest) -> Result<Manifest, BuildError>,
) -> Result<Manifest, BuildError> {
    let fail = |fault| BuildError::Derive { base: spec.base.clone(), fault };
    let mut nodes = load(&spec.base)?.into_nodes();
    // Against the base, so that one entry may lie within another.
    for path in &spec.drop {
        let path = clean(path).map_err(fail)?;
        if !nodes.contains_key(path) {
            return Err(fail(DeriveFault::DropMissing(path.to_owned())));
        }
    }
    for path in &spec.drop {
        let path = clean(path).map_err(fail)?;
        nodes.retain(|at, _| !name::within(at, path));
    }
    let mut loaded: Option<(Digest, Manifest)> = None;
    for take in &spec.take {
        let (path, to) = (clean(&take.path).map_err(fail)?, clean(&take.to).map_err(fail)?);
        let from = match loaded.take() {
            Some((digest, manifest)) if digest == take.from => manifest,
            _ => load(&take.from)?,
        };
        if from.get(path).is_none() {
            return Err(fail(DeriveFault::TakeMissing { from: take.from.clone(), path: path.to_owned() }));
        }
        if nodes.contains_key(to) {
            return Err(fail(DeriveFault::Collision(to.to_owned())));
        }
        for (at, node) in from.iter().filter(|(at, _)| name::within(at, path)) {
            let place = format!("{to}{}", &at[path.len()..]);
            put(&mut nodes, &place, node.clone())
                .map_err(|fault| fail(DeriveFault::Path { path: place.clone(), fault }))?;
        }
        loaded = Some((take.from.clone(), from));
    }
    let manifest = Manifest::new(nodes);
    if !manifest.iter().any(|(_, node)| matches!(node, Node::File { .. })) {
        return Err(fail(DeriveFault::Path { path: String::new(), fault: Fault::NoName }));
    }
    manifest.check_links().map_err(|(path, fault)| fail(DeriveFault::Path { path, fault }))?;
    Ok(manifest)
}

fn clean(path: &str) -> Result<&str, DeriveFault> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    match name::check(bare, super::Limits::default().path_bytes) {
        Ok(()) => Ok(bare),
        Err(fault) => Err(DeriveFault::Path { path: super::error::printable(path.as_bytes()), fault }),
    }
}

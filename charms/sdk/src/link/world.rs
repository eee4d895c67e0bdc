//! Resolution: whether a class, or a member of it, is found in a set of classes. Owns the search through superclasses and
//! interfaces. It must not read files.

use std::collections::{HashMap, HashSet};

use super::scan::{self, Reference, Shape};

/// Classes by the digest of their name; of several the first counts, as on a class path.
#[derive(Debug, Default)]
pub(super) struct World(HashMap<u64, Shape>);

impl World {
    pub(super) fn of(shapes: Vec<Shape>) -> Self {
        let mut world = HashMap::with_capacity(shapes.len());
        for shape in shapes.into_iter().chain([scan::object()]) {
            world.entry(shape.name).or_insert(shape);
        }
        Self(world)
    }
}

/// Real hierarchies are a dozen deep.
const DEEPEST: u32 = 500;

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The class, or one it inherits from, declares it.
    Declared,
    /// Nothing that was looked at declares it, but an ancestor is outside of what was looked at.
    Unknown,
    /// It is not there.
    Missing,
}

/// A class path: worlds in order.
#[derive(Debug)]
pub(super) struct Path<'a>(Vec<&'a World>);

impl<'a> Path<'a> {
    pub(super) fn new(worlds: &[&'a World]) -> Self {
        Self(worlds.to_vec())
    }

    fn class(&self, name: u64) -> Option<&'a Shape> {
        self.0.iter().find_map(|world| world.0.get(&name))
    }

    pub(super) fn has(&self, name: u64) -> bool {
        self.class(name).is_some()
    }

    pub(super) fn resolve(&self, reference: &Reference) -> Found {
        let Some(class) = self.class(reference.owner) else { return Found::Missing };
        let Some(member) = reference.member else { return Found::Declared };
        let (mut unknown, mut seen, mut waiting) = (false, HashSet::new(), vec![class]);
        while let Some(class) = waiting.pop() {
            let has = |members: &[u64]| members.binary_search(&member).is_ok();
            if has(&class.declared) || reference.inside && has(&class.private) {
                return Found::Declared;
            }
            for parent in &class.parents {
                if seen.insert(*parent) {
                    match self.class(*parent) {
                        Some(class) => waiting.push(class),
                        None => unknown = true,
                    }
                }
            }
        }
        if unknown { Found::Unknown } else { Found::Missing }
    }

    /// Which classes are of one of the `worlds` or inherit from one that is.
    pub(super) fn descendants_of(&'a self, worlds: &[&'a World]) -> Descendants<'a> {
        Descendants {
            path: self,
            worlds: worlds.to_vec(),
            known: HashMap::new(),
            object: scan::object().name,
        }
    }
}

/// Answers, remembered, whether a class descends from some world.
#[derive(Debug)]
pub(super) struct Descendants<'a> {
    path: &'a Path<'a>,
    worlds: Vec<&'a World>,
    known: HashMap<u64, bool>,
    object: u64,
}

impl Descendants<'_> {
    pub(super) fn contains(&mut self, name: u64) -> bool {
        self.within(name, DEEPEST)
    }

    fn within(&mut self, name: u64, depth: u32) -> bool {
        if let Some(known) = self.known.get(&name) {
            return *known;
        }
        // A class that is its own ancestor cannot be loaded: its circle is cut here.
        self.known.insert(name, false);
        let Some(depth) = depth.checked_sub(1) else { return false };
        let is = name != self.object && self.worlds.iter().any(|world| world.0.contains_key(&name))
            || self
                .path
                .class(name)
                .is_some_and(|class| class.parents.iter().any(|parent| self.within(*parent, depth)));
        self.known.insert(name, is);
        is
    }
}

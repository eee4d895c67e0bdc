//! Resolution: whether a class, or a member of it, is found in a set of classes. Owns the search through superclasses and
//! interfaces, and which classes of the jars that are replaced are read at all: those that somebody asks for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::hash::BuildHasherDefault;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::rc::Rc;

use super::archive::{Archive, Inflater};
use super::class::Reader;
use super::scan::{self, Digests, Plain, Reference, Shape};

type Map<T> = HashMap<u64, T, BuildHasherDefault<Plain>>;

/// Classes by the digest of their name; of several the first counts, as on a class path.
#[derive(Debug, Default)]
pub(super) struct World {
    known: RefCell<Map<Rc<Shape>>>,
    /// Classes that were not read yet: which jar, and where in it.
    unread: Map<(usize, usize)>,
    jars: RefCell<Vec<Archive<BufReader<File>>>>,
    memory: RefCell<(Inflater, Reader)>,
}

impl World {
    /// Of shapes that are known.
    pub(super) fn of(shapes: impl Iterator<Item = Shape>) -> Self {
        let mut known: Map<Rc<Shape>> = Map::default();
        for shape in shapes.chain([scan::object()]) {
            known.entry(shape.name).or_insert_with(|| Rc::new(shape));
        }
        Self { known: RefCell::new(known), ..Self::default() }
    }

    /// Of jars, whose classes are read when they are asked for.
    pub(super) fn open(paths: &[PathBuf]) -> io::Result<Self> {
        let mut world = Self::default();
        for (at, path) in paths.iter().enumerate() {
            let jar = Archive::open(path, |name, index| {
                world.unread.entry(scan::digest(&[name])).or_insert((at, index));
            })?;
            world.jars.borrow_mut().push(jar);
        }
        Ok(world)
    }

    /// Names of all classes in the jars.
    pub(super) fn names(&self) -> impl Iterator<Item = u64> {
        self.unread.keys().copied()
    }

    fn has(&self, name: u64) -> bool {
        self.unread.contains_key(&name) || self.known.borrow().contains_key(&name)
    }

    fn class(&self, name: u64) -> io::Result<Option<Rc<Shape>>> {
        if let Some(known) = self.known.borrow().get(&name) {
            return Ok(Some(Rc::clone(known)));
        }
        let Some((jar, index)) = self.unread.get(&name) else { return Ok(None) };
        let (mut jars, mut memory) = (self.jars.borrow_mut(), self.memory.borrow_mut());
        let (inflater, reader) = &mut *memory;
        let Some(archive) = jars.get_mut(*jar) else { return Ok(None) };
        let bytes = archive.class(*index, inflater)?;
        let shape = bytes.and_then(|bytes| reader.read(bytes).as_ref().map(scan::shape));
        // What lies under a class's name and is none has nothing to offer.
        let empty =
            || Shape { name, parents: Box::default(), declared: Box::default(), private: Box::default() };
        let shape = Rc::new(shape.unwrap_or_else(empty));
        self.known.borrow_mut().insert(name, Rc::clone(&shape));
        Ok(Some(shape))
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

    fn class(&self, name: u64) -> io::Result<Option<Rc<Shape>>> {
        for world in &self.0 {
            if let Some(class) = world.class(name)? {
                return Ok(Some(class));
            }
        }
        Ok(None)
    }

    pub(super) fn has(&self, name: u64) -> bool {
        self.0.iter().any(|world| world.has(name))
    }

    pub(super) fn resolve(&self, reference: &Reference) -> io::Result<Found> {
        let Some(member) = reference.member else {
            return Ok(if self.has(reference.owner) { Found::Declared } else { Found::Missing });
        };
        let Some(class) = self.class(reference.owner)? else { return Ok(Found::Missing) };
        let (mut unknown, mut seen, mut waiting) = (false, Digests::<u64>::default(), vec![class]);
        let java = scan::java();
        while let Some(class) = waiting.pop() {
            let has = |members: &[u64]| members.binary_search(&member).is_ok();
            if has(&class.declared) || reference.inside && has(&class.private) {
                return Ok(Found::Declared);
            }
            for parent in &class.parents {
                if seen.insert(*parent) {
                    match self.class(*parent)? {
                        Some(class) => waiting.push(class),
                        None => unknown |= *parent != java || !reference.foreign,
                    }
                }
            }
        }
        Ok(if unknown { Found::Unknown } else { Found::Missing })
    }
}

/// Answers, remembered, which of the callers' own classes descend from one that is replaced.
#[derive(Debug)]
pub(super) struct Descendants<'a> {
    own: &'a World,
    replaced: &'a Digests<u64>,
    known: Map<bool>,
}

impl<'a> Descendants<'a> {
    pub(super) fn new(own: &'a World, replaced: &'a Digests<u64>) -> Self {
        Self { own, replaced, known: Map::default() }
    }

    /// Whether a class is replaced or descends from one that is.
    pub(super) fn contains(&mut self, name: u64) -> bool {
        self.replaced.contains(&name) || self.within(name, DEEPEST)
    }

    fn within(&mut self, name: u64, depth: u32) -> bool {
        if let Some(known) = self.known.get(&name) {
            return *known;
        }
        // A class that is its own ancestor cannot be loaded: its circle is cut here.
        self.known.insert(name, false);
        let Some(depth) = depth.checked_sub(1) else { return false };
        let class = self.own.known.borrow().get(&name).map(Rc::clone);
        let is = class.is_some_and(|class| {
            class.parents.iter().any(|parent| self.replaced.contains(parent) || self.within(*parent, depth))
        });
        self.known.insert(name, is);
        is
    }
}

//! What jars hold and use, by digests: the shape of each class, and which references a jar makes. Owns the reading of jars
//! side by side and the digests that names become. It must not resolve.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::archive::{Inflater, each_class};
use super::class::{Class, Pointer, Reader, nest};

/// What others can see of a class, by digests of names.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) name: u64,
    pub(super) parents: Box<[u64]>,
    /// Members for others, sorted.
    pub(super) declared: Box<[u64]>,
    /// Members for its nest alone, sorted.
    pub(super) private: Box<[u64]>,
}

/// A reference, by digests: to a class, or to a member of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Reference {
    pub(super) owner: u64,
    pub(super) member: Option<u64>,
    /// Whether it is made from within the owner's nest, where private members may be used.
    pub(super) inside: bool,
    /// Whether it is to a member that the runtime's classes cannot declare: it names a class that they do not know.
    pub(super) foreign: bool,
}

/// A jar with its classes and all different references that they make, as far as they can matter.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) path: PathBuf,
    pub(super) classes: u64,
    pub(super) shapes: Vec<Shape>,
    pub(super) references: Vec<Reference>,
}

/// Sets of digests: they are as good as hashes already.
pub(super) type Digests<T> = HashSet<T, BuildHasherDefault<Plain>>;

/// Takes what it is given for the hash.
#[derive(Debug, Default)]
pub(super) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(23) ^ value;
    }

    // Of options and flags: they tell nothing that the digests do not.
    fn write_u8(&mut self, _: u8) {}
    fn write_isize(&mut self, _: isize) {}
}

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// 64 bits of a name: two of a million names are alike once in thirty million checks.
pub(super) fn digest(parts: &[&[u8]]) -> u64 {
    let mix = |state: u64, value: u64| {
        let wide = u128::from(state ^ value) * u128::from(ODD);
        #[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let folded = wide as u64 ^ (wide >> 64) as u64;
        folded
    };
    let mut state = 0x243F_6A88_85A3_08D3;
    for part in parts {
        state = mix(state, part.len() as u64 ^ ODD);
        let mut eights = part.chunks_exact(8);
        for eight in &mut eights {
            state = mix(state, u64::from_le_bytes(eight.try_into().unwrap_or_default()));
        }
        let mut last = [0; 8];
        last[..eights.remainder().len()].copy_from_slice(eights.remainder());
        state = mix(state, u64::from_le_bytes(last));
    }
    mix(state, ODD)
}

pub(super) fn reference(class: &Class<'_>, pointer: &Pointer<'_>) -> Reference {
    Reference {
        owner: digest(&[pointer.owner]),
        member: pointer.member.map(|(name, descriptor)| digest(&[name, descriptor])),
        inside: nest(class.name()) == nest(pointer.owner),
        foreign: pointer.member.is_some_and(|(_, descriptor)| foreign(descriptor)),
    }
}

/// Whether a descriptor names a class that is not Java's.
fn foreign(descriptor: &[u8]) -> bool {
    const JAVA: [&[u8]; 8] =
        [b"java/", b"javax/", b"jdk/", b"sun/", b"com/sun/", b"org/w3c/", b"org/xml/", b"org/ietf/"];
    let mut rest = descriptor;
    while let Some(at) = rest.iter().position(|byte| *byte == b'L') {
        let name = &rest[at + 1..];
        if !JAVA.iter().any(|java| name.starts_with(java)) {
            return true;
        }
        let end = name.iter().position(|byte| *byte == b';').unwrap_or(name.len());
        rest = &name[end..];
    }
    false
}

/// Stands for every parent of Java's own but `Object`.
pub(super) fn java() -> u64 {
    digest(&[b"java/"])
}

fn parent(name: &[u8]) -> u64 {
    if name.starts_with(b"java/") && name != b"java/lang/Object" { java() } else { digest(&[name]) }
}

pub(super) fn shape(class: &Class<'_>) -> Shape {
    let (mut declared, mut private) = (Vec::new(), Vec::new());
    class.members(|open, name, descriptor| {
        let members = if open { &mut declared } else { &mut private };
        members.push(digest(&[name, descriptor]));
    });
    let sorted = |mut members: Vec<u64>| {
        members.sort_unstable();
        members.into_boxed_slice()
    };
    Shape {
        name: digest(&[class.name()]),
        parents: class.parents().map(parent).collect(),
        declared: sorted(declared),
        private: sorted(private),
    }
}

/// What every class inherits, from the runtime (JLS §4.3.2): all that a class without another superclass has besides
/// its own.
pub(super) fn object() -> Shape {
    const METHODS: [(&[u8], &[u8]); 12] = [
        (b"<init>", b"()V"),
        (b"getClass", b"()Ljava/lang/Class;"),
        (b"hashCode", b"()I"),
        (b"equals", b"(Ljava/lang/Object;)Z"),
        (b"clone", b"()Ljava/lang/Object;"),
        (b"toString", b"()Ljava/lang/String;"),
        (b"notify", b"()V"),
        (b"notifyAll", b"()V"),
        (b"wait", b"()V"),
        (b"wait", b"(J)V"),
        (b"wait", b"(JI)V"),
        (b"finalize", b"()V"),
    ];
    let mut declared: Box<[u64]> =
        METHODS.iter().map(|(name, descriptor)| digest(&[name, descriptor])).collect();
    declared.sort_unstable();
    Shape { name: digest(&[b"java/lang/Object"]), parents: Box::default(), declared, private: Box::default() }
}

/// The jars with what they hold and use, in their order. Of references to classes only those in `replaced` are kept; of
/// shapes, those of classes that may inherit from one of these, or stand before one.
pub(super) fn jars(jars: &[PathBuf], replaced: &Digests<u64>) -> io::Result<Vec<Scanned>> {
    side_by_side(jars, |jar, inflater, reader| {
        let mut scanned =
            Scanned { path: jar.to_owned(), classes: 0, shapes: Vec::new(), references: Vec::new() };
        let mut references: Digests<Reference> = Digests::default();
        each_class(jar, inflater, |bytes| {
            let Some(class) = reader.read(bytes) else { return };
            scanned.classes += 1;
            if class.parents().any(|parent| !of_runtime(parent))
                || replaced.contains(&digest(&[class.name()]))
            {
                scanned.shapes.push(shape(&class));
            }
            for pointer in class.pointers().filter(|pointer| !of_runtime(pointer.owner)) {
                let reference = reference(&class, &pointer);
                if reference.member.is_some() || replaced.contains(&reference.owner) {
                    references.insert(reference);
                }
            }
        })?;
        scanned.references = references.into_iter().collect();
        Ok(scanned)
    })
}

/// The runtime's own classes: nothing here replaces them.
fn of_runtime(name: &[u8]) -> bool {
    name.starts_with(b"java/") || name.starts_with(b"scala/")
}

/// `work` on every path, a thread a core, the largest files first; results in the order of the paths.
fn side_by_side<T: Send>(
    paths: &[PathBuf],
    work: impl Fn(&Path, &mut Inflater, &mut Reader) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_cached_key(|index| {
        std::cmp::Reverse(std::fs::metadata(&paths[*index]).map_or(0, |meta| meta.len()))
    });
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(paths.len())));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(paths.len()) {
            scope.spawn(|| {
                let (mut inflater, mut reader) = (Inflater::default(), Reader::default());
                while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(&paths[*index], &mut inflater, &mut reader);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

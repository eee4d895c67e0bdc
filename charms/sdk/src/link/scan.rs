//! Jars, read for linking: the shape of each class, and which references a jar makes. Owns the reading of jars side by
//! side and the digests that names become. It must not resolve.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use zip::ZipArchive;

use super::class::{self, Pointer};

/// The largest class file that is read, in bytes: the format itself could hold more, real ones are below 2 MiB.
const MAX_CLASS: u64 = 16 << 20;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reference {
    pub(super) owner: u64,
    pub(super) member: Option<u64>,
    /// Whether it is made from within the owner's nest, where private members may be used.
    pub(super) inside: bool,
}

/// A jar with its classes and all different references that they make.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) path: PathBuf,
    pub(super) shapes: Vec<Shape>,
    pub(super) references: Vec<Reference>,
}

/// 64 bits of a name: two of a million names are alike once in thirty million checks.
pub(super) fn digest(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn reference(class: &class::Class<'_>, pointer: &Pointer<'_>) -> Reference {
    Reference {
        owner: digest(&[pointer.owner]),
        member: pointer.member.map(|(name, descriptor)| digest(&[name, descriptor])),
        inside: class::nest(class.name) == class::nest(pointer.owner),
    }
}

fn shape(class: &class::Class<'_>) -> Shape {
    let sorted = |members: &[(&[u8], &[u8])]| {
        let mut digests: Box<[u64]> =
            members.iter().map(|(name, descriptor)| digest(&[name, descriptor])).collect();
        digests.sort_unstable();
        digests
    };
    Shape {
        name: digest(&[class.name]),
        parents: class.parents.iter().map(|parent| digest(&[parent])).collect(),
        declared: sorted(&class.declared),
        private: sorted(&class.private),
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
    shape(&class::Class { name: b"java/lang/Object", declared: METHODS.to_vec(), ..class::Class::default() })
}

/// The shapes of all classes in the jars, those of earlier jars first.
pub(super) fn shapes(jars: &[PathBuf]) -> io::Result<Vec<Shape>> {
    let found = side_by_side(jars, |jar| {
        let mut shapes = Vec::new();
        each_class(jar, |bytes| shapes.extend(class::read(bytes).as_ref().map(shape)))?;
        Ok(shapes)
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// The jars with what they hold and use, in their order.
pub(super) fn jars(jars: &[PathBuf]) -> io::Result<Vec<Scanned>> {
    side_by_side(jars, |jar| {
        let (mut shapes, mut references) = (Vec::new(), HashSet::new());
        each_class(jar, |bytes| {
            if let Some(class) = class::read(bytes) {
                shapes.push(shape(&class));
                references.extend(
                    class
                        .pointers
                        .iter()
                        .filter(|pointer| !of_runtime(pointer.owner))
                        .map(|pointer| reference(&class, pointer)),
                );
            }
        })?;
        Ok(Scanned { path: jar.to_owned(), shapes, references: references.into_iter().collect() })
    })
}

/// The runtime's own classes: nothing here replaces them.
fn of_runtime(name: &[u8]) -> bool {
    name.starts_with(b"java/") || name.starts_with(b"scala/")
}

/// Hands every class file of a jar to `take`. Classes for newer runtimes alone (`META-INF/versions`) are left out.
pub(super) fn each_class(jar: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let about =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot read `{}`: {error}", jar.display()));
    let file = File::open(jar).map_err(about)?;
    let mut archive =
        ZipArchive::new(BufReader::with_capacity(1 << 16, file)).map_err(|error| about(error.into()))?;
    let mut bytes = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| about(error.into()))?;
        let name = entry.name_raw();
        if !name.ends_with(b".class")
            || name.starts_with(b"META-INF/")
            || name.ends_with(b"module-info.class")
        {
            continue;
        }
        bytes.clear();
        entry.take(MAX_CLASS).read_to_end(&mut bytes).map_err(about)?;
        take(&bytes);
    }
    Ok(())
}

/// `work` on every path, a thread a core, the largest files first; results in the order of the paths.
fn side_by_side<T: Send>(
    paths: &[PathBuf],
    work: impl Fn(&Path) -> io::Result<T> + Sync,
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
                while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(&paths[*index]);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

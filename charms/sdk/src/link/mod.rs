//! The link check: whether what some jars call is there in other jars, without running any of them.
//!
//! A Java program finds out that a method is gone only when it gets there. Here every reference of the *callers*' class
//! files is resolved, as the JVM would (JVMS §5.4.3), against a candidate in place of what they came with; what cannot be
//! resolved is a [`Gap`]. Owns the walk over jars and the resolution. It must not know which jars belong together, nor
//! judge a gap. It does not see reflection, and it takes what a class may inherit from the Java runtime as there,
//! unless the class that was replaced had it itself, or it names a class that Java does not know.

mod archive;
mod class;
mod scan;
mod world;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::archive::Inflater;
use self::scan::{Digests, Reference, Scanned};
use self::world::{Descendants, Found, World};

/// A reference that does not resolve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// The jar's file name.
    pub jar: String,
    /// The class that refers, with dots.
    pub class: String,
    /// What it refers to: `org.x.Y`, or `org.x.Y.method(Lorg/x/Z;)V`, or `org.x.Y.field:I`.
    pub target: String,
    /// Whether it does not resolve against what was shipped.
    pub before: bool,
    /// Whether it does not resolve against the candidate.
    pub after: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Class files of the callers.
    pub classes: u64,
    /// Different references into what is replaced.
    pub references: u64,
    /// What does not resolve against one of both, sorted.
    pub gaps: Vec<Gap>,
}

impl Report {
    /// Gaps that the replacement makes: what resolved before and does not any more.
    pub fn new_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| gap.after && !gap.before)
    }
}

/// Resolves every reference that the `callers` make into `shipped` against `candidate` in its place, and as it was. All
/// are jars; the callers stay beside either. One thread a core, a hundred megabytes at most.
pub fn check(callers: &[PathBuf], shipped: &[PathBuf], candidate: &[PathBuf]) -> io::Result<Report> {
    let old = World::open(shipped)?;
    let other = (shipped != candidate).then(|| World::open(candidate)).transpose()?;
    let new = other.as_ref().unwrap_or(&old);
    let replaced: Digests<u64> = old.names().chain(new.names()).collect();
    let mut scanned = scan::jars(callers, &replaced)?;
    let shapes: Vec<_> = scanned.iter_mut().flat_map(|jar| std::mem::take(&mut jar.shapes)).collect();
    let own = World::of(shapes.into_iter());
    let mut report = Report { classes: scanned.iter().map(|jar| jar.classes).sum(), ..Report::default() };
    let before = world::Path::new(&[&own, &old]);
    let after = world::Path::new(&[&own, new]);
    let mut touched = Descendants::new(&own, &replaced);
    for jar in &scanned {
        let mut lost = HashMap::new();
        for reference in jar.references.iter().filter(|reference| touched.contains(reference.owner)) {
            report.references += 1;
            let found = (before.resolve(reference)?, after.resolve(reference)?);
            let lacking =
                (lacks(&before, reference, found.0, found.1), lacks(&after, reference, found.1, found.0));
            if lacking.0 || lacking.1 {
                lost.insert(*reference, lacking);
            }
        }
        if !lost.is_empty() {
            report.gaps.extend(named(jar, &lost)?);
        }
    }
    report.gaps.sort_unstable();
    report.gaps.dedup();
    Ok(report)
}

/// Whether what was found on a path is a gap, beside what was found on the other.
fn lacks(path: &world::Path<'_>, reference: &Reference, found: Found, elsewhere: Found) -> bool {
    match found {
        Found::Declared => false,
        // Inherited from what is not looked at: as good as there, unless it was the replaced class's own.
        Found::Unknown => elsewhere == Found::Declared,
        // A class that is gone is one gap, however many of its members are used.
        Found::Missing => reference.member.is_none() || path.has(reference.owner),
    }
}

/// Gaps by their names, which are read again from the jar: there are few, and references carry digests only.
fn named(jar: &Scanned, lost: &HashMap<Reference, (bool, bool)>) -> io::Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    let name = jar.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut reader = class::Reader::default();
    archive::each_class(&jar.path, &mut Inflater::default(), |bytes| {
        let Some(class) = reader.read(bytes) else { return };
        for pointer in class.pointers() {
            if let Some((before, after)) = lost.get(&scan::reference(&class, &pointer)) {
                gaps.push(Gap {
                    jar: name.clone(),
                    class: dotted(class.name()),
                    target: target(&pointer),
                    before: *before,
                    after: *after,
                });
            }
        }
    })?;
    Ok(gaps)
}

fn dotted(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace('/', ".")
}

fn target(pointer: &class::Pointer<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let owner = dotted(pointer.owner);
    match pointer.member {
        None => owner,
        Some((name, descriptor)) if descriptor.starts_with(b"(") => {
            format!("{owner}.{}{}", text(name), text(descriptor))
        }
        Some((name, descriptor)) => format!("{owner}.{}:{}", text(name), text(descriptor)),
    }
}

/// All jars in a folder, sorted, without those that `except` names.
pub fn jars_in(folder: &Path, except: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut jars = crate::jars::find(folder, "");
    jars.retain(|jar| jar.file_name().is_some_and(|name| !except(&name.to_string_lossy())));
    jars
}

#[cfg(test)]
mod tests;

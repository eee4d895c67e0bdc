//! The link check: whether what some jars call is there in other jars, without running any of them.
//!
//! A Java program finds out that a method is gone only when it gets there. Here every reference of the *callers*' class
//! files is resolved, as the JVM would (JVMS §5.4.3), against a candidate in place of what they came with; what cannot be
//! resolved is a [`Gap`]. Owns the walk over jars and the resolution. It must not know which jars belong together, nor
//! judge a gap. It does not see reflection, and it takes what a class may inherit from the Java runtime as there,
//! unless the class that was replaced had it itself.

mod class;
mod scan;
mod world;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::scan::{Reference, Scanned};
use self::world::{Found, World};

/// A reference that does not resolve against the candidate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// The jar's file name.
    pub jar: String,
    /// The class that refers, with dots.
    pub class: String,
    /// What it refers to: `org.x.Y`, or `org.x.Y.method(Lorg/x/Z;)V`, or `org.x.Y.field:I`.
    pub target: String,
    /// Whether it did not resolve before either.
    pub before: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Class files of the callers.
    pub classes: u64,
    /// Different references into what is replaced.
    pub references: u64,
    /// What does not resolve, sorted.
    pub gaps: Vec<Gap>,
}

impl Report {
    /// Gaps that the replacement makes: what resolved before and does not any more.
    pub fn new_gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| !gap.before)
    }
}

/// Resolves every reference that the `callers` make into `shipped` against `candidate` in its place. All are jars;
/// the callers stay beside either. One thread a core, a few tens of megabytes.
pub fn check(callers: &[PathBuf], shipped: &[PathBuf], candidate: &[PathBuf]) -> io::Result<Report> {
    let (old, new) = (World::of(scan::shapes(shipped)?), World::of(scan::shapes(candidate)?));
    let scanned = scan::jars(callers)?;
    let own = World::of(scanned.iter().flat_map(|jar| jar.shapes.iter().cloned()).collect());
    let mut report =
        Report { classes: scanned.iter().map(|jar| jar.shapes.len() as u64).sum(), ..Report::default() };
    let before = world::Path::new(&[&own, &old]);
    let after = world::Path::new(&[&own, &new]);
    let mut touched = before.descendants_of(&[&old, &new]);
    for jar in &scanned {
        let mut lost = HashSet::new();
        for reference in &jar.references {
            // A class that is gone is one gap, however many of its members are used.
            if !touched.contains(reference.owner) || reference.member.is_some() && !after.has(reference.owner)
            {
                continue;
            }
            report.references += 1;
            let was = before.resolve(reference);
            let lacking = match after.resolve(reference) {
                Found::Declared => false,
                // Inherited from what is not looked at: as good as there, unless it was the replaced class's own.
                Found::Unknown => was == Found::Declared,
                Found::Missing => true,
            };
            if lacking {
                lost.insert((*reference, was == Found::Missing));
            }
        }
        if !lost.is_empty() {
            report.gaps.extend(named(jar, &lost)?);
        }
    }
    report.gaps.sort_unstable();
    Ok(report)
}

/// Gaps by their names, which are read again from the jar: there are few, and references carry digests only.
fn named(jar: &Scanned, lost: &HashSet<(Reference, bool)>) -> io::Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    let name = jar.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    scan::each_class(&jar.path, |bytes| {
        let Some(class) = class::read(bytes) else { return };
        for pointer in &class.pointers {
            let reference = scan::reference(&class, pointer);
            for before in [false, true] {
                if lost.contains(&(reference, before)) {
                    gaps.push(Gap {
                        jar: name.clone(),
                        class: dotted(class.name),
                        target: target(pointer),
                        before,
                    });
                }
            }
        }
    })?;
    gaps.dedup();
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

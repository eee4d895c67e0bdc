//! Guesses which blob a large file of a new version will be, from the builds that are there. Owns guessing only:
//! what is guessed is hashed all the same, and read again where the guess was wrong.

use std::collections::HashMap;

use stoker_model::ids::Digest;

use super::blobs::{Blobs, SMALL};
use super::manifest::Manifest;

/// Large blobs by the last part of their path, their size and whether they can be run.
#[derive(Debug, Default)]
pub(super) struct Likely {
    known: HashMap<(Box<str>, u64, bool), Digest>,
}

/// The most guesses worth their memory.
const MOST: usize = 20_000;

impl Likely {
    /// Takes in the large files of a build; those whose blob is gone are left out.
    pub(super) fn learn(&mut self, manifest: &Manifest, blobs: &Blobs) {
        for (path, blob, exec) in manifest.files() {
            if self.known.len() >= MOST {
                return;
            }
            if let Ok(Some(size)) = blobs.size(blob, exec)
                && size >= SMALL
            {
                self.known.insert((last(path).into(), size, exec), blob.clone());
            }
        }
    }

    /// The blob that a file is likely to be.
    pub(super) fn find(&self, path: &str, size: u64, exec: bool) -> Option<&Digest> {
        self.known.get(&(last(path).into(), size, exec))
    }
}

fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

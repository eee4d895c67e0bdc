//! End to end: the real programs, the charms for tests, nothing in between. A file a topic.

mod changes;
mod data;
mod moves;
mod preview;
mod relations;
mod resources;
mod secrets;
mod tasks;
mod units;

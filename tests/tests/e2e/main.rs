//! End to end: the real programs, the charms for tests, nothing in between. A file a topic.

mod access;
mod api;
mod bad_charm;
mod bad_host;
mod changes;
mod cli;
mod data;
mod doctor;
mod exposure;
mod fsck;
mod generations;
mod life;
mod metrics;
mod moves;
mod preview;
mod relations;
mod report;
mod resources;
mod rollouts;
mod secrets;
mod tasks;
mod units;
mod waiting;

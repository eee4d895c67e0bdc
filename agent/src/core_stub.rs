//! Stands in for the facade until it is there.
#![allow(unused, clippy::pedantic)]
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::api::ProgressSink;
use crate::api::caller::Caller;
use crate::api::types::*;
use crate::problem::{Problem, codes};
use crate::settings::{Paths, Settings};

pub(crate) struct Core;

fn no<T>() -> Result<T, Problem> {
    Err(Problem::new(codes::NOT_YET, "cannot answer: not built yet"))
}

impl Core {
    pub(crate) async fn write(&self, model: &str, request: WriteRequest, caller: &Caller, progress: &ProgressSink) -> Result<WriteReply, Problem> { no() }
    pub(crate) async fn change(&self, model: &str, n: u64, wait: Option<Duration>) -> Result<ChangeStatus, Problem> { no() }
    pub(crate) async fn settle(&self, model: &str, app: Option<&str>, wait: Option<Duration>) -> Result<ChangeStatus, Problem> { no() }
    pub(crate) async fn status(&self, model: &str, filter: &[String]) -> Result<Value, Problem> { no() }
    pub(crate) async fn add_build(&self, add: AddBuild, progress: &ProgressSink) -> Result<Build, Problem> { no() }
    pub(crate) async fn builds(&self) -> Result<Vec<Build>, Problem> { no() }
    pub(crate) async fn build(&self, digest: &str) -> Result<Build, Problem> { no() }
    pub(crate) async fn inspect(&self, add: AddBuild, progress: &ProgressSink) -> Result<Value, Problem> { no() }
    pub(crate) async fn resources(&self, model: &str, app: &str) -> Result<Vec<ResourceDoc>, Problem> { no() }
    pub(crate) async fn releases(&self, model: &str, app: &str) -> Result<Vec<ReleaseDoc>, Problem> { no() }
    pub(crate) async fn config(&self, model: &str, app: &str) -> Result<Vec<OptionDoc>, Problem> { no() }
    pub(crate) async fn actions_of(&self, model: &str, app: &str) -> Result<Value, Problem> { no() }
    pub(crate) async fn action(&self, model: &str, id: u64, wait: Option<Duration>) -> Result<ActionDoc, Problem> { no() }
    pub(crate) async fn unit(&self, model: &str, unit: &str) -> Result<UnitDoc, Problem> { no() }
    pub(crate) async fn plan(&self, model: &str, unit: &str) -> Result<Value, Problem> { no() }
    pub(crate) async fn why(&self, model: &str, subject: &str) -> Result<Why, Problem> { no() }
    pub(crate) async fn kept(&self, model: &str) -> Result<Vec<Kept>, Problem> { no() }
    pub(crate) async fn charms(&self) -> Result<Value, Problem> { no() }
    pub(crate) async fn version(&self) -> Result<Version, Problem> { Ok(Version::default()) }
    pub(crate) async fn log_files(&self, model: &str, target: &str) -> Result<Vec<(String, PathBuf)>, Problem> { no() }
    pub(crate) fn debug_log_path(&self) -> PathBuf { "/dev/null".into() }
    pub(crate) async fn changes(&self, model: &str) -> Result<Vec<ChangeStatus>, Problem> { no() }
    pub(crate) async fn events(&self, model: &str) -> Result<tokio::sync::watch::Receiver<u64>, Problem> { no() }
    pub(crate) async fn down(&self) -> Result<(), Problem> { no() }
}

pub(crate) async fn run(paths: Paths, settings: Settings, level: crate::settings::log::LevelHandle) -> Result<(), Problem> { no() }

pub(crate) async fn inspect_without_agent(file: &str, charm: Option<&str>) -> Result<Value, Problem> { no() }

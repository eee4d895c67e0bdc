//! The programs of the charm's tasks: one JSON document as argument, one line of JSON as result.

pub(crate) mod ask;
pub(crate) mod folders;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stoker_charm::TRY_LATER;

/// The one argument.
fn question<T: DeserializeOwned>(args: &[String]) -> anyhow::Result<T> {
    let [text] = args else { bail!("one JSON document is needed") };
    serde_json::from_str(text).context("cannot read what is asked")
}

/// Done, with this result.
fn done(result: &Value) -> anyhow::Result<ExitCode> {
    stoker_charm::print(&result.to_string())
}

/// Not now: try again later; what there is to know so far is the result.
fn later(mut result: Value, why: &str) -> anyhow::Result<ExitCode> {
    result["reason"] = json!(why);
    done(&result)?;
    // Nothing can be said where standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{why}");
    Ok(ExitCode::from(TRY_LATER))
}

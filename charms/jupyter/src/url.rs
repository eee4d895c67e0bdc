//! The action `url`: where the notebook is. Owns the shape of its result; must not ask the server anything.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde_json::json;

/// The variable that holds the server's token.
pub(crate) const TOKEN: &str = "JUPYTER_TOKEN";

/// `url BASE PYTHON`: prints the address to open, the address and token for programs, and the environment's Python.
pub(crate) fn main(args: &[String]) -> Result<ExitCode> {
    let [base, python] = args else { anyhow::bail!("usage: url BASE PYTHON") };
    let token = std::env::var(TOKEN).with_context(|| format!("cannot read the token from `{TOKEN}`"))?;
    ensure!(!token.is_empty(), "cannot read the token from `{TOKEN}`: it is empty");
    let result = json!({
        "url": format!("{base}/lab?token={token}"),
        "server": base,
        "token": token,
        "python": python,
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{result}").and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

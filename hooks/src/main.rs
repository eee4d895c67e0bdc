//! `stoker-hook`: the multi-call hook tool. Takes the tool's name from its own (or its first argument), hands the
//! call to the agent and gives back what it answers. It must not know what the tools do.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use stoker_hooks::client::{CallError, Connection, chain};
use stoker_hooks::tools::{UsageError, take_file};
use stoker_hooks::wire::Response;

/// The name under which this program is no tool itself.
const SELF: &str = "stoker-hook";

fn main() -> ExitCode {
    // Arguments that are not UTF-8 reach the agent with their odd bytes replaced.
    let mut words = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let base = Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let tool = if base == SELF { words.next() } else { Some(base.to_owned()) };
    let Some(tool) = tool else {
        return fail(2, "usage: stoker-hook TOOL [ARGUMENT]...");
    };
    match call(&tool, words.collect()) {
        Ok(response) => {
            let out = std::io::stdout().lock().write_all(&response.stdout.0);
            let said = std::io::stderr().lock().write_all(&response.stderr.0);
            match out.and(said) {
                Ok(()) => ExitCode::from(u8::try_from(response.code).unwrap_or(1)),
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(Failure::Call(error @ CallError::Unset(_))) => fail(1, error.to_string()),
        Err(Failure::Call(error)) => fail(1, format!("ERROR {}", chain(&error))),
        Err(Failure::File(path, error)) => fail(1, format!("ERROR cannot read `{path}`: {error}")),
        Err(Failure::Usage(what)) => fail(2, format!("ERROR {what}")),
    }
}

enum Failure {
    Call(CallError),
    File(String, std::io::Error),
    Usage(UsageError),
}

fn call(tool: &str, mut args: Vec<String>) -> Result<Response, Failure> {
    let connection = Connection::from_env().map_err(Failure::Call)?;
    // The plan's file is read with the caller's rights, never with the agent's.
    let file = if tool == "plan" { take_file(&mut args).map_err(Failure::Usage)? } else { None };
    match file {
        Some(path) => {
            let data = std::fs::read(&path).map_err(|error| Failure::File(path, error))?;
            connection.call_with(tool, &args, data)
        }
        None => connection.call(tool, &args, &mut std::io::stdin().lock()),
    }
    .map_err(Failure::Call)
}

fn fail(code: u8, message: impl AsRef<str>) -> ExitCode {
    // Nothing can be said where standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", message.as_ref());
    ExitCode::from(code)
}

//! The hook tools' names and command lines. Owns what a tool's arguments mean; must not run tools (the agent's
//! hook server does).

/// Tools that a function charm may call: these are linked into a run's tool folder.
pub const NAMES: &[&str] = &["juju-log", "observe", "plan"];

/// A tool call, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `--help`: print this and succeed.
    Help(&'static str),
    /// Print the observation.
    Observe,
    /// Take the plan from standard input.
    Plan,
    /// Write a line to the unit's log.
    Log(Line),
}

/// A line for the unit's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How grave it is.
    pub level: Level,
    /// What is said.
    pub message: String,
    /// The level that was named and is none; worth a warning.
    pub unknown_level: Option<String>,
}

/// Levels of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Finest.
    Trace,
    /// For those who look for a fault.
    Debug,
    /// Usual.
    Info,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
    /// Everything failed.
    Critical,
}

impl Level {
    /// The level of this name, in any case.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" | "WARNING" => Self::Warning,
            "ERROR" => Self::Error,
            "CRITICAL" => Self::Critical,
            _ => return None,
        })
    }

    /// The name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// Arguments that a tool does not take; goes with exit status 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such tool.
    #[error("unknown command `{0}`")]
    Tool(String),
    /// No such option.
    #[error("option provided but not defined: {0}")]
    Option(String),
    /// An option without its value.
    #[error("option needs an argument: {0}")]
    Value(String),
    /// More arguments than taken.
    #[error("unrecognized args: {0:?}")]
    Extra(Vec<String>),
    /// `juju-log` without a message.
    #[error("no message specified")]
    Message,
}

const HELP_OBSERVE: &str = "Usage: observe\n\nPrint what this unit may know, as JSON.\n";
const HELP_PLAN: &str =
    "Usage: plan [--file FILE]\n\nHand over the plan (JSON) from FILE or standard input.\n";
const HELP_LOG: &str = "Usage: juju-log [-l LEVEL|--log-level LEVEL|--debug] MESSAGE...\n\n\
     Write a line to the unit's log. LEVEL is TRACE, DEBUG, INFO (default), WARNING, ERROR or CRITICAL.\n";

/// Reads a tool's arguments. `--file` of `plan` never arrives here: the client reads that file itself.
pub fn parse(tool: &str, args: &[String]) -> Result<Call, UsageError> {
    let help = match tool {
        "observe" => HELP_OBSERVE,
        "plan" => HELP_PLAN,
        "juju-log" => HELP_LOG,
        _ => return Err(UsageError::Tool(tool.to_owned())),
    };
    let options = args.iter().take_while(|arg| *arg != "--");
    if options.clone().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(Call::Help(help));
    }
    if tool == "juju-log" {
        return log(args).map(Call::Log);
    }
    if let Some(option) = options.clone().find(|arg| arg.starts_with('-') && arg.len() > 1) {
        return Err(UsageError::Option(option.clone()));
    }
    let extra: Vec<String> = args.iter().filter(|arg| *arg != "--" && *arg != "-").cloned().collect();
    if !extra.is_empty() {
        return Err(UsageError::Extra(extra));
    }
    Ok(if tool == "plan" { Call::Plan } else { Call::Observe })
}

/// Takes `--file F` or `--file=F` out of the arguments of `plan`; `-` means standard input and yields nothing.
pub fn take_file(args: &mut Vec<String>) -> Result<Option<String>, UsageError> {
    let Some(at) = args.iter().position(|arg| arg == "--file" || arg.starts_with("--file=")) else {
        return Ok(None);
    };
    let option = args.remove(at);
    let path = match option.split_once('=') {
        Some((_, path)) => path.to_owned(),
        None if at < args.len() => args.remove(at),
        None => return Err(UsageError::Value(option)),
    };
    Ok((path != "-").then_some(path))
}

fn log(args: &[String]) -> Result<Line, UsageError> {
    let mut named: Option<String> = None;
    let mut words = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--" => words.extend(rest.by_ref().map(String::as_str)),
            "--debug" | "--debug=true" => named = Some("DEBUG".to_owned()),
            "--debug=false" => {}
            "-l" | "--log-level" => {
                named = Some(rest.next().ok_or_else(|| UsageError::Value(arg.clone()))?.clone());
            }
            // `--format` is taken and means nothing, as elsewhere.
            "--format" => {
                rest.next();
            }
            option if option.starts_with("--log-level=") => {
                named = option.split_once('=').map(|(_, v)| v.to_owned());
            }
            option if option.starts_with("--format=") => {}
            option if option.starts_with('-') && option.len() > 1 => {
                return Err(UsageError::Option(option.to_owned()));
            }
            word => words.push(word),
        }
    }
    if words.is_empty() {
        return Err(UsageError::Message);
    }
    let level = named.as_deref().map_or(Some(Level::Info), Level::of);
    let unknown_level = if level.is_none() { named } else { None };
    Ok(Line { level: level.unwrap_or(Level::Info), message: words.join(" "), unknown_level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(line: &str) -> Result<Call, UsageError> {
        let mut words = line.split(' ').map(str::to_owned);
        let tool = words.next().unwrap();
        parse(&tool, &words.collect::<Vec<_>>())
    }

    fn said(line: &str) -> (Level, String, Option<String>) {
        match call(line) {
            Ok(Call::Log(line)) => (line.level, line.message, line.unknown_level),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn log_lines() {
        assert_eq!(said("juju-log hello there"), (Level::Info, "hello there".into(), None));
        assert_eq!(said("juju-log -l warning a"), (Level::Warning, "a".into(), None));
        assert_eq!(said("juju-log a --log-level=ERROR b"), (Level::Error, "a b".into(), None));
        assert_eq!(said("juju-log --debug -- -l x"), (Level::Debug, "-l x".into(), None));
        assert_eq!(said("juju-log --log-level LOUD -- a"), (Level::Info, "a".into(), Some("LOUD".into())));
        assert_eq!(call("juju-log -l INFO"), Err(UsageError::Message));
        assert_eq!(call("juju-log -l"), Err(UsageError::Value("-l".into())));
        assert_eq!(call("juju-log -x a"), Err(UsageError::Option("-x".into())));
    }

    #[test]
    fn other_tools() {
        assert_eq!(call("observe"), Ok(Call::Observe));
        assert_eq!(call("plan -"), Ok(Call::Plan));
        assert_eq!(call("plan --help"), Ok(Call::Help(HELP_PLAN)));
        assert_eq!(call("observe now"), Err(UsageError::Extra(vec!["now".into()])));
        assert_eq!(call("observe --yes"), Err(UsageError::Option("--yes".into())));
        assert_eq!(call("dance"), Err(UsageError::Tool("dance".into())));
    }

    #[test]
    fn plan_files() {
        let take = |line: &str| {
            let mut args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            take_file(&mut args).map(|file| (file, args))
        };
        assert_eq!(take("--file a/b x"), Ok((Some("a/b".into()), vec!["x".into()])));
        assert_eq!(take("--file=a=b"), Ok((Some("a=b".into()), vec![])));
        assert_eq!(take("--file -"), Ok((None, vec![])));
        assert_eq!(take(""), Ok((None, vec![])));
        assert_eq!(take("--file"), Err(UsageError::Value("--file".into())));
    }

    proptest! {
        #[test]
        fn never_panics(tool in "observe|plan|juju-log|x", args in proptest::collection::vec("-{0,2}[a-z=]{0,6}", 0..5)) {
            let _ = parse(&tool, &args);
        }
    }
}

//! What the CLI says: the payload on standard output, talk on standard error. Owns formats, colour and making text
//! from elsewhere harmless; must not know verbs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::End;
use crate::problem::{Problem, codes};

/// How the payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Tabular,
    /// One JSON document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where a verb says what it has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// As asked for, or tabular.
    pub format: Format,
    /// No talk.
    pub quiet: bool,
}

impl Out {
    /// Standard output is a terminal: somebody watches.
    pub(crate) fn watched() -> bool {
        io::stdout().is_terminal()
    }

    /// Progress may be drawn.
    pub(crate) fn draws(self) -> bool {
        !self.quiet && io::stderr().is_terminal() && std::env::var_os("CI").is_none()
    }

    /// Somebody can be asked.
    pub(crate) fn asks() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Whether the payload is for people, not a document.
    pub(crate) fn is_text(self) -> bool {
        self.format == Format::Tabular
    }

    /// The payload: the document as it is, or `text` of it for people.
    pub(crate) fn show<T: Serialize>(self, document: &T, text: impl FnOnce(&T) -> String) -> Result<(), End> {
        match self.format {
            Format::Tabular => Self::payload(&text(document)),
            Format::Json | Format::Yaml => self.document(document),
        }
    }

    /// The payload as JSON, or as YAML where that was asked for.
    pub(crate) fn document(self, document: &impl Serialize) -> Result<(), End> {
        let made = if self.format == Format::Yaml {
            serde_saphyr::to_string(document).map_err(|error| error.to_string())
        } else {
            serde_json::to_string_pretty(document).map_err(|error| error.to_string())
        };
        let text =
            made.map_err(|error| Problem::new(codes::INTERNAL, "cannot write the answer").evidence(error))?;
        Self::payload(&text)
    }

    /// Writes to standard output, with a newline at the end where there is none and anything at all.
    pub(crate) fn payload(text: &str) -> Result<(), End> {
        let mut out = anstream::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        written(write!(out, "{text}{end}").and_then(|()| out.flush()))
    }

    /// Says a line to people.
    pub(crate) fn talk(self, text: &str) {
        if !self.quiet {
            Self::say(text);
        }
    }

    /// Says a line that matters even when quiet was asked for.
    pub(crate) fn say(text: &str) {
        // Nobody listens: nothing is lost that could be said elsewhere.
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    /// Says what went wrong, in its three parts.
    pub(crate) fn problem(problem: &Problem) {
        let (bold, plain, cyan) = ("\x1b[1;31m", "\x1b[0m", "\x1b[36m");
        // Causes that are programs' words may have lines: the first is the sentence, the others are evidence.
        let mut lines = problem.title.lines();
        let sentence = lines.next().unwrap_or_default().trim_end_matches(':');
        let mut text = format!("{bold}error:{plain} {} [{}]", clean(sentence), clean(&problem.code));
        for line in lines.chain(problem.detail.lines()) {
            text.push_str("\n  ");
            text.push_str(&clean_line(line));
        }
        let fix = if problem.fix.is_empty() {
            format!("stoker explain {}", problem.code)
        } else {
            problem.fix.clone()
        };
        let _ = write!(text, "\n{cyan}fix:{plain} {}", clean(&fix));
        Self::say(&text);
    }
}

/// The end of writing: a reader that went away has all it wanted.
pub(crate) fn written(result: io::Result<()>) -> Result<(), End> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(End::Exit(0)),
        Err(error) => Err(Problem::new(codes::INTERNAL, format!("cannot write the answer: {error}"))
            .fix("look at where standard output goes")
            .into()),
    }
}

/// Text from elsewhere, without what would move the cursor, colour the screen or turn the line around.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => safe.push(' '),
            c if bad(c) => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// A line of a log: as [`clean`], but tabs stay.
pub(crate) fn clean_line(text: &str) -> String {
    text.split('\t').map(clean).collect::<Vec<_>>().join("\t")
}

/// Several lines, each cleaned.
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean_line).collect::<Vec<_>>().join("\n")
}

/// A state's word in its colour; a word that is none stays plain.
pub(crate) fn coloured(word: &str) -> String {
    let colour = match word {
        "active" | "started" | "completed" | "ready" => "32",
        "error" | "lost" | "failed" | "blocked" | "bad" => "31",
        "waiting" | "maintenance" | "pending" | "running" | "starting" => "33",
        _ => return word.to_owned(),
    };
    format!("\x1b[{colour}m{word}\x1b[0m")
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    indicatif::BinaryBytes(n).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_neutralised() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c d");
        assert_eq!(clean("plain é"), "plain é");
        assert_eq!(clean_line("a\tb\x07"), "a\tb\\u{7}");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = written(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert!(matches!(gone, Err(End::Exit(0))));
        assert!(matches!(written(Err(io::Error::from(io::ErrorKind::StorageFull))), Err(End::Problem(_))));
    }
}

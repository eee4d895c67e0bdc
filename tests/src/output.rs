//! What a command answered.

use serde_json::Value;

/// A command that has ended.
#[derive(Debug)]
pub struct Output {
    /// As typed.
    pub line: String,
    /// Exit status; a death by signal N is 128 + N.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Fails unless it exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit status {code}: {self:#?}");
        self
    }

    /// Fails unless standard error has all of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "expected `{word}` on standard error: {self:#?}");
        }
        self
    }

    /// Fails unless it is one refusal of three parts: a line that begins with what cannot be done and ends with a
    /// code, and what helps.
    #[track_caller]
    pub fn is_problem(self) -> Self {
        let codes = self.stderr.matches("[ST0").count();
        assert!(codes == 1 && self.stderr.contains("fix: "), "expected one problem with its fix: {self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("expected JSON on standard output ({error}): {self:#?}"),
        }
    }
}

//! Refusals and failures as users meet them: three parts (*cannot X: because Y*, evidence, fix) and a stable code.
//!
//! Owns how a [`Problem`] is made, shown and answered over HTTP; the codes are in [`codes`]. It must not decide
//! what is a problem.

pub(crate) mod codes;

use std::fmt;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(crate) use crate::api::types::Problem;
use codes::Code;

impl Problem {
    /// A problem with this code; `title` is the sentence *cannot X: because Y*.
    pub(crate) fn new(code: Code, title: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:stoker:{}", code.id),
            title: title.into(),
            status: code.http,
            detail: String::new(),
            fix: String::new(),
            code: code.id.to_owned(),
        }
    }

    /// A failure of ours, with the whole chain of `error` as evidence.
    pub(crate) fn internal(title: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::new(codes::INTERNAL, title).evidence(chain(error))
    }

    /// Adds what was seen; a second call adds a line.
    pub(crate) fn evidence(mut self, seen: impl AsRef<str>) -> Self {
        if !self.detail.is_empty() && !seen.as_ref().is_empty() {
            self.detail.push('\n');
        }
        self.detail.push_str(seen.as_ref());
        self
    }

    /// Says what to do.
    pub(crate) fn fix(mut self, what: impl Into<String>) -> Self {
        self.fix = what.into();
        self
    }

    /// Says what was meant where a known word is near; else what to do stays as it is.
    pub(crate) fn did_you_mean<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match stoker_model::strict::nearest(word, known) {
            Some(near) => self.fix(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// The exit status of a CLI that ends with this problem.
    pub(crate) fn exit_code(&self) -> u8 {
        codes::find(&self.code).map_or_else(
            // A newer agent may have codes that this CLI does not know: its HTTP status tells the kind.
            || match self.status {
                400 => 2,
                401 | 403 => 4,
                404 => 5,
                409 | 412 => 6,
                502..=504 => 7,
                _ => 1,
            },
            |code| code.exit,
        )
    }
}

/// How a request ended: the code of its problem, if any. Goes with a response for whoever notes what was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended(pub Option<String>);

/// An error and its sources in one line, none of them repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.title, self.code)?;
        for line in self.detail.lines() {
            write!(f, "\n  {line}")?;
        }
        if !self.fix.is_empty() {
            write!(f, "\nfix: {}", self.fix)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        response.extensions_mut().insert(Ended(Some(self.code)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_three_parts_and_a_code() {
        let problem = Problem::new(codes::NOT_FOUND, "cannot show `web/7`: there is no such unit")
            .evidence("units: web/0")
            .evidence("asked in model default")
            .fix("stoker status web");
        assert_eq!(
            problem.to_string(),
            "cannot show `web/7`: there is no such unit [ST0005]\n  units: web/0\n  asked in model default\n\
             fix: stoker status web"
        );
        assert_eq!((problem.exit_code(), problem.status), (5, 404));
    }

    #[test]
    fn an_unknown_code_exits_by_its_http_status() {
        let of = |status| Problem { status, code: "ST9999".into(), ..Problem::default() }.exit_code();
        assert_eq!([of(404), of(409), of(403), of(503), of(400), of(500)], [5, 6, 4, 7, 2, 1]);
    }

    #[test]
    fn a_chain_repeats_nothing() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open `x`")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::new(std::io::ErrorKind::NotFound, "gone"));
        assert_eq!(chain(&error), "cannot open `x`: gone");
    }
}

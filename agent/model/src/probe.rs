//! Probes: how readiness, liveness and busyness are asked. Owns their spelling and how an answer is judged;
//! must not ask (stoker-host does).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One question to a service. Exactly one of `http`, `tcp`, `log`, `exec` is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// A URL to GET; 2xx is an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// `ADDRESS:PORT` that must accept a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A regular expression that a line of the service's log must match since it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// A command; exit 0 is yes, its last stdout line (if JSON) the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// HTTP headers to send; values may hold `${secret:NAME}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// JSON pointer (RFC 6901) into the answer; a pointer that leads nowhere yields `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// How the value at `pointer` is compared with `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<Op>,
    /// What to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Busy probes: for a list, keep only the value at this pointer of each member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
}

/// Comparisons of a probe's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// A number greater than.
    Gt,
    /// A number greater than or equal.
    Ge,
    /// A number less than.
    Lt,
    /// A number less than or equal.
    Le,
}

impl Probe {
    /// What is wrong with the probe, if anything.
    pub fn check(&self) -> Result<(), String> {
        let kinds = [self.http.is_some(), self.tcp.is_some(), self.log.is_some(), self.exec.is_some()];
        match kinds.iter().filter(|set| **set).count() {
            1 => {}
            0 => return Err("names none of http, tcp, log, exec".into()),
            _ => return Err("names more than one of http, tcp, log, exec".into()),
        }
        if self.op.is_some() != self.value.is_some() {
            return Err("`op` and `value` go together".into());
        }
        if let Some(pointer) = self.pointer.as_deref().or(self.each.as_deref())
            && !pointer.is_empty()
            && !pointer.starts_with('/')
        {
            return Err(format!("pointer `{pointer}` does not start with `/`"));
        }
        Ok(())
    }

    /// The value that the answer holds at `pointer` (mapped by `each`); a JSON text inside a string is read.
    pub fn pick(&self, answer: &Value) -> Value {
        let mut value = answer;
        if let Some(pointer) = &self.pointer {
            value = value.pointer(pointer).unwrap_or(&Value::Null);
        }
        match (&self.each, value) {
            (Some(each), Value::Array(items)) => {
                items.iter().map(|item| item.pointer(each).cloned().unwrap_or(Value::Null)).collect()
            }
            _ => value.clone(),
        }
    }

    /// Whether the picked value passes `op`; without one, any answer passes.
    pub fn passes(&self, picked: &Value) -> bool {
        let (Some(op), Some(wanted)) = (self.op, &self.value) else { return true };
        match op {
            Op::Eq => picked == wanted,
            Op::Ne => picked != wanted,
            Op::Gt | Op::Ge | Op::Lt | Op::Le => match (picked.as_f64(), wanted.as_f64()) {
                (Some(a), Some(b)) => match op {
                    Op::Gt => a > b,
                    Op::Ge => a >= b,
                    Op::Lt => a < b,
                    _ => a <= b,
                },
                _ => false,
            },
        }
    }
}

/// Busy = any value that is not null, false, 0, "" or empty (charm model, rule 10).
pub fn is_busy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn picks_and_judges() {
        let probe: Probe =
            serde_json::from_value(json!({"http": "u", "pointer": "/beans/0/n", "op": "ge", "value": 1}))
                .unwrap();
        let answer = json!({"beans": [{"n": 2}]});
        assert_eq!(probe.pick(&answer), json!(2));
        assert!(probe.passes(&json!(2)) && !probe.passes(&json!(0)) && !probe.passes(&Value::Null));
        let each: Probe =
            serde_json::from_value(json!({"http": "u", "pointer": "/activeapps", "each": "/id"})).unwrap();
        assert_eq!(each.pick(&json!({"activeapps": [{"id": "a"}]})), json!(["a"]));
    }

    #[test]
    fn checks_kinds() {
        assert!(Probe::default().check().is_err());
        assert!(
            Probe { tcp: Some("a:1".into()), http: Some("u".into()), ..Probe::default() }.check().is_err()
        );
        assert!(Probe { tcp: Some("a:1".into()), ..Probe::default() }.check().is_ok());
    }

    #[test]
    fn busy_values() {
        for idle in [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})] {
            assert!(!is_busy(&idle), "{idle}");
        }
        for busy in [json!(true), json!(2), json!("x"), json!([0])] {
            assert!(is_busy(&busy), "{busy}");
        }
    }
}

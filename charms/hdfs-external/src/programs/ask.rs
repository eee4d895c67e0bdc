//! `ask`: what the NameNodes say of themselves: version, cluster, whether it can be written to. Their pages are asked for JMX;
//! where none answers, it is tried whether the RPC is there at all. Writes nothing.

use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stoker_charm::webhdfs::NameNode;

use super::{done, later, question};

const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Where pages may be.
    pub(crate) pages: Vec<String>,
    /// The RPC.
    pub(crate) nodes: Vec<String>,
}

/// What is found.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Hadoop's version there; none where no page told it.
    pub(crate) version: Option<String>,
    /// The cluster's identity.
    pub(crate) cluster: Option<String>,
    /// The page of the active NameNode, else of one that answers.
    pub(crate) page: Option<String>,
    /// Whether it can be written to, as far as can be told.
    pub(crate) ready: bool,
    /// Whether it is between two versions.
    pub(crate) between: bool,
    /// Why not.
    pub(crate) why: String,
    /// What was tried and did not tell.
    pub(crate) tried: Vec<String>,
}

/// The program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let asked: Question = question(args)?;
    let answer = find(&asked, &bean, &reachable);
    let result = serde_json::to_value(&answer)?;
    if answer.ready { done(&result) } else { later(result, &answer.why) }
}

type Bean = dyn Fn(&str, &str) -> anyhow::Result<Value>;

fn bean(page: &str, name: &str) -> anyhow::Result<Value> {
    let node = NameNode { url: format!("http://{page}"), user: String::new() };
    node.bean(&format!("Hadoop:service=NameNode,name={name}"))
}

fn reachable(node: &str) -> anyhow::Result<()> {
    let mut last = anyhow::anyhow!("{node} is no address");
    for address in node.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn find(asked: &Question, bean: &Bean, reachable: &dyn Fn(&str) -> anyhow::Result<()>) -> Answer {
    let mut answer = Answer::default();
    for page in &asked.pages {
        let info = match bean(page, "NameNodeInfo") {
            Ok(info) => info,
            Err(error) => {
                answer.tried.push(format!("http://{page}/jmx: {:#}", error.root_cause()));
                continue;
            }
        };
        let active = bean(page, "NameNodeStatus").is_ok_and(|status| status["State"] == "active");
        if active || answer.page.is_none() {
            read(&mut answer, &info, active);
            answer.page = Some(page.clone());
        }
        if active {
            break;
        }
    }
    if answer.page.is_some() {
        return answer;
    }
    // Hadoop's own RPC tells its version to superusers alone: that it is there has to do.
    for node in &asked.nodes {
        match reachable(node) {
            Ok(()) => {
                answer.ready = true;
                answer.tried.push(format!("{node}: it is there, and tells no version"));
                return answer;
            }
            Err(error) => answer.tried.push(format!("{node}: {:#}", error.root_cause())),
        }
    }
    answer.why = format!("no NameNode answers: {}", answer.tried.join("; "));
    answer
}

fn read(answer: &mut Answer, info: &Value, active: bool) {
    let text = |name: &str| info[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    answer.version = text("SoftwareVersion");
    answer.cluster = text("ClusterId");
    let versions = info["DistinctVersionCount"].as_u64().unwrap_or(1);
    answer.between = !info["RollingUpgradeStatus"].is_null() || versions > 1;
    let nodes: Value =
        text("LiveNodes").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(json!({}));
    let live = nodes.as_object().map_or(0, serde_json::Map::len);
    answer.why = match (active, text("Safemode"), live) {
        (false, ..) => "no NameNode is active".to_owned(),
        (true, Some(_), _) => "it is in safe mode".to_owned(),
        (true, None, 0) => "it has no live DataNode".to_owned(),
        (true, None, _) => String::new(),
    };
    answer.ready = answer.why.is_empty();
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn asked(pages: &[&str], answers: &[(&str, Value, &str)]) -> Answer {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        let answers: Vec<(String, Value, String)> = answers
            .iter()
            .map(|(page, info, state)| ((*page).to_owned(), info.clone(), (*state).to_owned()))
            .collect();
        let bean = move |page: &str, name: &str| match answers.iter().find(|(known, ..)| known == page) {
            Some((_, info, _)) if name == "NameNodeInfo" => Ok(info.clone()),
            Some((_, _, state)) => Ok(json!({"State": state})),
            None => bail!("refused"),
        };
        find(&Question { pages: owned(pages), nodes: owned(&["up:1"]) }, &bean, &|_| Ok(()))
    }

    #[test]
    fn the_active_one_counts() {
        let info = |version: &str, safemode: &str, live: &str| json!({"SoftwareVersion": version, "ClusterId": "CID-1", "Safemode": safemode, "LiveNodes": live, "RollingUpgradeStatus": null});
        let good = info("3.1.1.7.1.8.0-801", "", "{\"d\":{}}");
        let answer = asked(
            &["a:1", "b:1"],
            &[("a:1", info("3.1.1", "", "{}"), "standby"), ("b:1", good.clone(), "active")],
        );
        assert_eq!(
            (answer.version.as_deref(), answer.page.as_deref(), answer.ready),
            (Some("3.1.1.7.1.8.0-801"), Some("b:1"), true)
        );
        for (info, state, why) in [
            (good.clone(), "standby", "active"),
            (info("3.4.1", "Safe mode is ON.", "{\"d\":{}}"), "active", "safe mode"),
            (info("3.4.1", "", "{}"), "active", "DataNode"),
        ] {
            let answer = asked(&["a:1"], &[("a:1", info, state)]);
            assert!(!answer.ready && answer.why.contains(why) && answer.version.is_some(), "{answer:?}");
        }
        let mut rolling = good;
        rolling["RollingUpgradeStatus"] = json!({"startTime": 1});
        assert!(asked(&["a:1"], &[("a:1", rolling, "active")]).between);
    }

    #[test]
    fn what_was_tried_is_told() {
        let answer = asked(&["a:1", "b:2"], &[]);
        assert_eq!((answer.version.as_ref(), answer.ready, answer.tried.len()), (None, true, 3));
        assert!(
            answer.tried[0].contains("http://a:1/jmx: refused") && answer.tried[2].contains("up:1"),
            "{answer:?}"
        );
        let nobody = find(
            &Question { pages: Vec::new(), nodes: vec!["x:1".into()] },
            &|_, _| bail!("refused"),
            &|_| bail!("refused"),
        );
        assert!(!nobody.ready && nobody.why.contains("x:1: refused"), "{nobody:?}");
    }
}

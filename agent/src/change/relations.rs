//! Relations: made where one pair of endpoints fits, removed with their data.

use stoker_model::charm::{Endpoint, Role};
use stoker_model::keys::Key;
use stoker_model::observation::Life;
use stoker_model::record::{End, Relation};

use super::draft::Draft;
use crate::problem::{Problem, codes};

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((app, endpoint)) => (app, Some(endpoint)),
        None => (text, None),
    }
}

fn endpoints(draft: &Draft, app: &str, only: Option<&str>) -> Result<Vec<(String, Endpoint)>, Problem> {
    draft.app(app, "relate")?;
    let release = draft.release(app)?;
    let known = &release.description.relations;
    if let Some(name) = only.filter(|name| !known.contains_key(*name)) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let problem = Problem::new(
            codes::NOT_FOUND,
            format!("cannot relate `{app}:{name}`: there is no such endpoint"),
        )
        .evidence(format!("endpoints of {app}: {}", names.join(", ")));
        return Err(match stoker_model::strict::nearest(name, names) {
            Some(near) => problem.fix(format!("did you mean `{app}:{near}`?")),
            None => problem,
        });
    }
    let wanted = known.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    Ok(wanted.filter(|(_, e)| e.role != Role::Peer).map(|(name, e)| (name.clone(), e.clone())).collect())
}

pub(super) fn integrate(draft: &mut Draft, a: &str, b: &str) -> Result<String, Problem> {
    let ((app_a, only_a), (app_b, only_b)) = (split(a), split(b));
    if app_a == app_b {
        let title = format!("cannot relate `{a}` to `{b}`: an application is not related to itself");
        return Err(Problem::new(codes::INVALID_VALUE, title));
    }
    let (of_a, of_b) = (endpoints(draft, app_a, only_a)?, endpoints(draft, app_b, only_b)?);
    let mut fits = Vec::new();
    for (name_a, end_a) in &of_a {
        for (name_b, end_b) in &of_b {
            if end_a.interface == end_b.interface && end_a.role != end_b.role {
                fits.push((name_a, end_a, name_b, end_b));
            }
        }
    }
    let (name_a, end_a, name_b, end_b) = match fits.as_slice() {
        [one] => *one,
        [] => {
            let list = |app: &str, ends: &[(String, Endpoint)]| {
                let said: Vec<String> =
                    ends.iter().map(|(n, e)| format!("{n} ({} {})", role(e.role), e.interface)).collect();
                format!("{app}: {}", if said.is_empty() { "no endpoints".into() } else { said.join(", ") })
            };
            let title = format!("cannot relate `{a}` to `{b}`: no endpoints of theirs fit");
            return Err(Problem::new(codes::NOT_FOUND, title)
                .evidence(list(app_a, &of_a))
                .evidence(list(app_b, &of_b)));
        }
        many => {
            let mut problem = Problem::new(
                codes::INVALID_VALUE,
                format!("cannot relate `{a}` to `{b}`: more than one pair of endpoints fits"),
            );
            for (x, _, y, _) in many {
                problem = problem.evidence(format!("{app_a}:{x} {app_b}:{y}"));
            }
            return Err(problem.fix("name the endpoints, as in the evidence"));
        }
    };
    let end = |app: &str, endpoint: &str, role| End { app: app.into(), endpoint: endpoint.into(), role };
    let ends = vec![end(app_a, name_a, end_a.role), end(app_b, name_b, end_b.role)];
    let same =
        |relation: &Relation| relation.ends.len() == 2 && ends.iter().all(|e| relation.ends.contains(e));
    if draft.snapshot.relations.values().any(|relation| same(relation)) {
        return Ok(format!("{app_a}:{name_a} and {app_b}:{name_b} are related already"));
    }
    for (app, name, endpoint) in [(app_a, name_a, end_a), (app_b, name_b, end_b)] {
        let has = |r: &Relation| r.ends.iter().any(|e| e.app == app && e.endpoint == *name);
        let others = draft.snapshot.relations.values().filter(|relation| has(relation)).count();
        if endpoint.limit > 0 && others >= endpoint.limit as usize {
            let title =
                format!("cannot relate `{app}:{name}`: it takes at most {} and has {others}", endpoint.limit);
            return Err(Problem::new(codes::CONFLICT, title)
                .fix(format!("stoker remove-relation {app}:{name} OTHER")));
        }
    }
    let id = draft.next_relation();
    let relation = Relation { id, interface: end_a.interface.clone(), life: Life::Alive, ends };
    draft.put(Key::Relation(id), &relation)?;
    draft.concerns(app_a);
    draft.concerns(app_b);
    Ok(format!("related {app_a}:{name_a} to {app_b}:{name_b}"))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Provides => "provides",
        Role::Requires => "requires",
        Role::Peer => "peer",
    }
}

pub(super) fn remove(draft: &mut Draft, a: &str, b: Option<&str>) -> Result<String, Problem> {
    let missing = |what: &str| {
        let title = format!("cannot remove the relation {what}: there is none");
        Problem::new(codes::NOT_FOUND, title).fix("stoker status --relations")
    };
    let found = match b {
        None => {
            let id: u64 = a.parse().map_err(|_| {
                let title =
                    format!("cannot remove the relation `{a}`: give its number, or both applications");
                Problem::new(codes::USAGE, title)
            })?;
            draft.snapshot.relations.get(&id).filter(|relation| !relation.is_peer()).cloned()
        }
        Some(b) => {
            let sides = [split(a), split(b)];
            let fits = |relation: &&std::sync::Arc<Relation>| {
                relation.ends.len() == 2
                    && sides.iter().all(|(app, endpoint)| {
                        relation
                            .ends
                            .iter()
                            .any(|e| e.app == *app && endpoint.is_none_or(|name| e.endpoint == name))
                    })
            };
            draft.snapshot.relations.values().find(fits).cloned()
        }
    };
    let relation =
        found.ok_or_else(|| missing(&[Some(a), b].into_iter().flatten().collect::<Vec<_>>().join(" ")))?;
    delete(draft, relation.id)?;
    let ends: Vec<String> = relation.ends.iter().map(|end| format!("{}:{}", end.app, end.endpoint)).collect();
    for end in &relation.ends {
        draft.concerns(&end.app);
    }
    Ok(format!("removed the relation of {}", ends.join(" and ")))
}

/// Deletes a relation with its data.
pub(super) fn delete(draft: &mut Draft, id: u64) -> Result<(), Problem> {
    let snapshot = draft.snapshot.clone();
    for (relation, app) in snapshot.app_data.keys().filter(|(relation, _)| *relation == id) {
        draft.delete(Key::AppData(*relation, app.clone()))?;
    }
    for (relation, unit) in snapshot.unit_data.keys().filter(|(relation, _)| *relation == id) {
        draft.delete(Key::UnitData(*relation, unit.clone()))?;
    }
    draft.delete(Key::Relation(id))
}

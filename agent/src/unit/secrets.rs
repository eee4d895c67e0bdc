//! A unit's secrets: made once, found again, opened only for a process or a 0600 file.

use std::collections::BTreeMap;

use stoker_host::fs::failpoint::hit;
use stoker_model::keys::Key;
use stoker_model::plan::{self, Plan};
use stoker_model::record::Secret;
use stoker_store::Txn;

use super::pass::View;
use super::trouble::Trouble;
use super::worker::Worker;

impl Worker {
    /// The ids of a plan's secrets; missing ones are made, each in one transaction.
    pub(super) async fn bind_secrets(
        &self,
        view: &View,
        plan: &Plan,
    ) -> Result<BTreeMap<String, String>, Trouble> {
        let mut ids = BTreeMap::new();
        for (name, wanted) in &plan.secrets {
            let id = match &wanted.from {
                Some(from) => self.granted(view, name, from)?,
                None => match self.own_secret(name, wanted) {
                    Some(id) => id,
                    None => self.make_secret(name, wanted).await?,
                },
            };
            ids.insert(name.clone(), id);
        }
        Ok(ids)
    }

    fn own_secret(&self, name: &str, wanted: &plan::Secret) -> Option<String> {
        let snapshot = self.core.snapshot();
        let per_unit = wanted.scope.as_deref() == Some("unit");
        let mine = |secret: &&std::sync::Arc<Secret>| {
            secret.app == self.id.app
                && secret.name == name
                && if per_unit { secret.unit.as_ref() == Some(&self.id) } else { secret.unit.is_none() }
        };
        snapshot.secrets.values().find(mine).map(|secret| secret.id.clone())
    }

    fn granted(&self, view: &View, name: &str, from: &str) -> Result<String, Trouble> {
        let id = from.strip_prefix("secret:").unwrap_or(from);
        let refused = |why: &str| {
            Trouble::blocked(
                "ST0327",
                format!("cannot use secret `{name}`: {why}"),
                "look at the relation's other side",
            )
        };
        let secret = view.snapshot.secrets.get(id).ok_or_else(|| refused("it does not exist"))?;
        let related = |relation: &u64| {
            view.snapshot.relations.get(relation).is_some_and(|r| r.seen_by(&self.id.app).is_some())
        };
        if secret.app != self.id.app && !secret.grants.iter().any(related) {
            return Err(refused("it is not granted to this application"));
        }
        Ok(id.to_owned())
    }

    async fn make_secret(&self, name: &str, wanted: &plan::Secret) -> Result<String, Trouble> {
        let problem = |e: crate::problem::Problem| Trouble::error("ST0328", e.title);
        // One id per name and scope: two units that make it at once meet at the same key, and one of them reads it.
        let scope =
            if wanted.scope.as_deref() == Some("unit") { self.id.dashed() } else { self.id.app.clone() };
        let snapshot = self.core.snapshot();
        let uuid = snapshot.apps.get(&self.id.app).map(|app| app.uuid.clone()).unwrap_or_default();
        let id =
            stoker_model::ids::Digest::of(format!("{uuid}/{scope}/{name}").as_bytes()).hex()[..20].to_owned();
        let how = wanted.generate.as_deref().unwrap_or("hex32");
        let (base64, count) = match how.strip_prefix("base64") {
            Some(count) => (true, count),
            None => (false, how.strip_prefix("hex").unwrap_or("32")),
        };
        let hexadecimal = crate::core::random_id(count.parse().unwrap_or(32)).map_err(problem)?;
        let value = if base64 {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(hex::decode(&hexadecimal).unwrap_or_default())
        } else {
            hexadecimal
        };
        let sealed = self.core.sealer.seal(&id, &value).map_err(|e| Trouble::from_error("ST0328", &e))?;
        let secret = Secret {
            id: id.clone(),
            app: self.id.app.clone(),
            unit: (wanted.scope.as_deref() == Some("unit")).then(|| self.id.clone()),
            name: name.to_owned(),
            sealed: [("value".to_owned(), sealed)].into(),
            grants: Vec::new(),
        };
        let key = crate::core::Core::key(&Key::Secret(id.clone()));
        let bytes = serde_json::to_vec(&secret).map_err(|e| Trouble::from_error("ST0332", &e))?;
        // `None`: another unit made it meanwhile; its value is as good.
        hit("agent.secret.before-commit");
        let _ = self.core.commit(Txn::new().absent(key.clone()).put(key, bytes)).await?;
        hit("agent.secret.made");
        Ok(id)
    }

    /// The value of one of a plan's secrets.
    pub(super) fn secret_value(
        &self,
        plan: &Plan,
        ids: &BTreeMap<String, String>,
        name: &str,
    ) -> Result<String, Trouble> {
        let missing = || Trouble::error("ST0328", format!("cannot read secret `{name}`"));
        let id = ids.get(name).ok_or_else(missing)?;
        let snapshot = self.core.snapshot();
        let secret = snapshot.secrets.get(id).ok_or_else(missing)?;
        let key = plan.secrets.get(name).and_then(|wanted| wanted.key.as_deref()).unwrap_or("value");
        let sealed = secret.sealed.get(key).ok_or_else(missing)?;
        self.core.sealer.unseal(id, sealed).map_err(|e| Trouble::from_error("ST0328", &e))
    }
}

//! The identity of a revision: what it is, not what it is called.
//!
//! The id is BLAKE3 over a fixed encoding, each part with its length before it so that no two contents share an
//! encoding: domain, command, environment in key order, model, HTTP, boot, delivery. The name stays out: `v2` and
//! `v2-final` of equal content are the same revision, and a rollout between them would change nothing.

use std::collections::BTreeMap;

use super::{Delivery, Revision};
use crate::{
    id::{ModelName, RevisionId, RevisionName},
    time::Millis,
};

const DOMAIN: &str = "bellwether revision 1";

impl Revision {
    /// With the id that follows from the content.
    pub fn new(
        name: RevisionName,
        command: Vec<String>,
        env: BTreeMap<String, String>,
        model: ModelName,
        http: bool,
        boot: Millis,
        delivery: Delivery,
    ) -> Self {
        let mut content = Content(blake3::Hasher::new());
        content.text(DOMAIN);
        content.count(command.len());
        command.iter().for_each(|word| content.text(word));
        content.count(env.len());
        for (key, value) in &env {
            content.text(key);
            content.text(value);
        }
        content.text(model.as_str());
        content.number(u64::from(http));
        content.number(boot.0);
        match delivery {
            // As it was before there was anything else, so that no running fleet looks changed.
            Delivery::Pull => {}
            Delivery::Push { places } => {
                content.text("push");
                content.number(u64::from(places));
            }
            Delivery::None => content.text("none"),
        }
        let id = content.id();
        Self { name, id, command, env, model, http, boot, delivery }
    }
}

struct Content(blake3::Hasher);

impl Content {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    /// The first 128 bits in hexadecimal: far from any chance of collision, and still readable in a log.
    fn id(&self) -> RevisionId {
        RevisionId::new(&self.0.finalize().to_hex()[..32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, command: &[&str], env: &[(&str, &str)]) -> Revision {
        Revision::new(
            name.into(),
            command.iter().map(|&word| word.to_owned()).collect(),
            env.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ModelName::new("tinyllama"),
            false,
            Millis::from_secs(60),
            Delivery::Pull,
        )
    }

    #[test]
    fn the_id_follows_from_the_content_alone_and_is_stable() {
        let one = revision("v1", &["legacy-agent"], &[("A", "1")]);
        assert_eq!(one.id, revision("other", &["legacy-agent"], &[("A", "1")]).id);
        // A change of the encoding would make every running fleet look changed.
        assert_eq!(one.id.as_str(), "c7d69a2837a8f0282f5683295c77397e");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let ids = [
            revision("v", &["ab", "c"], &[]).id,
            revision("v", &["a", "bc"], &[]).id,
            revision("v", &["abc"], &[]).id,
            revision("v", &["a"], &[("b", "c")]).id,
            revision("v", &["a", "b", "c"], &[]).id,
        ];
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id), "{i}");
        }
    }
}

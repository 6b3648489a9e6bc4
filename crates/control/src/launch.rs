//! From a revision to a started process: variables, tokens, limits.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use bellwether_core::{
    id::{AgentName, InstanceId, InstanceToken, RevisionId, Side},
    port::{driver::Launch, gateway::InstanceCard},
    spec::{Revision, Spec},
};

use crate::error::Error;

/// Where instances find the gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrance {
    pub(crate) port: u16,
    /// The gateway can be reached under each instance's own address.
    pub(crate) by_address: bool,
}

pub(crate) struct Launcher {
    spec: Spec,
    revisions: BTreeMap<RevisionId, Revision>,
    entrance: Entrance,
    secret: [u8; 32],
    /// Where this state directory's block of addresses begins.
    addresses: u32,
}

/// The port of instances that serve HTTP. Each has an address of its own, so all can have the same one; it is
/// not a common one, because a stranger that listens on all addresses would be in the way of all of them.
const HTTP_PORT: u16 = 7480;

impl Launcher {
    pub(crate) fn new(spec: Spec, entrance: Entrance, state: &Path) -> Result<Self, Error> {
        let revisions = spec.agents.iter().map(|a| (a.revision.id.clone(), a.revision.clone())).collect();
        let secret = secret(&state.join("secret"))?;
        let hash = blake3::keyed_hash(&secret, b"addresses");
        let [a, b, c, d, ..] = *hash.as_bytes();
        Ok(Self { spec, revisions, entrance, secret, addresses: u32::from_le_bytes([a, b, c, d]) })
    }

    pub(crate) fn learn(&mut self, revisions: &BTreeMap<RevisionId, Revision>) {
        self.revisions.extend(revisions.iter().map(|(id, revision)| (id.clone(), revision.clone())));
    }

    pub(crate) fn card(
        &self,
        instance: InstanceId,
        agent: &AgentName,
        side: Side,
        revision: &RevisionId,
    ) -> Result<InstanceCard, String> {
        let (spec, revision) = self.find(agent, revision)?;
        Ok(InstanceCard {
            instance,
            agent: agent.clone(),
            agent_type: spec.agent_type.clone(),
            model: revision.model.clone(),
            side,
            token: self.token(instance),
            address: self.address(instance),
            upstream: revision.http.then(|| self.http_address(instance)),
            delivery: revision.delivery,
        })
    }

    pub(crate) fn launch(
        &self,
        instance: InstanceId,
        agent: &AgentName,
        side: Side,
        revision: &RevisionId,
    ) -> Result<Launch, String> {
        let (spec, revision) = self.find(agent, revision)?;
        let host = if self.entrance.by_address { self.address(instance) } else { Ipv4Addr::LOCALHOST };
        let base = format!("http://{host}:{}/i/{}", self.entrance.port, self.token(instance).as_str());
        let ollama = format!("{base}/ollama");
        let mut env = revision.env.clone();
        // Clients of this API do not start without one, and the gateway asks for none.
        env.entry("OPENAI_API_KEY".to_owned()).or_insert_with(|| "not-needed".to_owned());
        env.extend(
            [
                ("AGENT_NAME", agent.to_string()),
                ("AGENT_TYPE", spec.agent_type.to_string()),
                ("MODEL_NAME", revision.model.to_string()),
                ("BACKEND_URL", base),
                ("OLLAMA_HOST", ollama.clone()),
                ("OLLAMA_URL", ollama.clone()),
                ("OPENAI_BASE_URL", format!("{ollama}/v1")),
                // The older name, which some clients still prefer.
                ("OPENAI_API_BASE", format!("{ollama}/v1")),
                ("OLLAMA_BASE_URL", ollama),
                ("PORT", HTTP_PORT.to_string()),
                ("HEALTH_PORT", HTTP_PORT.to_string()),
                ("BELLWETHER_ADDRESS", self.address(instance).to_string()),
                ("BELLWETHER_INSTANCE", instance.to_string()),
                ("BELLWETHER_REVISION", revision.name.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Ok(Launch {
            agent: agent.clone(),
            side,
            argv: revision.command.clone(),
            env,
            address: self.address(instance),
            memory_limit_bytes: spec.memory_limit_bytes,
            cpu_limit: spec.cpu_limit,
        })
    }

    /// Where the instance serves HTTP, if it does.
    pub(crate) fn http_address(&self, instance: InstanceId) -> SocketAddr {
        SocketAddr::from((self.address(instance), HTTP_PORT))
    }

    fn address(&self, instance: InstanceId) -> Ipv4Addr {
        instance.address_from(self.addresses)
    }

    /// Derived, so that a controller that restarts between enrolment and start hands out the same one.
    fn token(&self, instance: InstanceId) -> InstanceToken {
        let hash = blake3::keyed_hash(&self.secret, &instance.0.to_le_bytes());
        InstanceToken::new(&hash.to_hex()[..32])
    }

    fn find(
        &self,
        agent: &AgentName,
        revision: &RevisionId,
    ) -> Result<(&bellwether_core::spec::AgentSpec, &Revision), String> {
        let spec = self.spec.agent(agent).ok_or_else(|| format!("the fleet file has no agent {agent}"))?;
        let revision = self.revisions.get(revision).ok_or_else(|| format!("revision {revision} is not known"))?;
        Ok((spec, revision))
    }
}

fn secret(path: &Path) -> Result<[u8; 32], Error> {
    let failed = |source| Error::State { path: path.to_owned(), source };
    let mut secret = [0; 32];
    match std::fs::File::open(path) {
        Ok(mut file) => file.read_exact(&mut secret).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut secret)).map_err(failed)?;
            // Written beside and renamed, so that a crash in between leaves no half of one.
            let beside = path.with_extension("new");
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
            let written = file.and_then(|mut file| {
                std::io::Write::write_all(&mut file, &secret)?;
                file.sync_all()
            });
            written.and_then(|()| std::fs::rename(&beside, path)).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(secret)
}

//! `bellwether gateway`: the model half of the gateway alone, in front of any Ollama.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bellwether_core::{
    diagnostic::{Diagnostic, chain},
    id::{AgentName, ModelName},
    spec::{self, Allow},
    time::Millis,
};
use bellwether_gateway::{
    ModelSettings, UpstreamSettings,
    alone::{self, AloneConfig},
};
use hyper::Uri;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{internal::gateway_threads, serve::address};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write},
    runtime,
    supervisor::{child, listen},
};

/// Far beyond what any model server computes at once.
const SLOTS_MAX: u32 = 65_535;

/// A better front for any Ollama: one fair queue for its slots, without a fleet.
///
/// Point clients at it instead of at Ollama; they see the same API. Never more calls are in flight than slots, each client gets
/// its share, and calls of one model are served together before the next is loaded. A client is known by its path
/// (/m/NAME/...), else its bearer token, else its X-Agent header, else its address. GET /health tells how it stands. Runs in the
/// foreground until SIGINT or SIGTERM, then lets what is in flight end; a second signal cuts it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model server; URL=N gives it N slots. Several stand behind one queue
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:11434")]
    ollama: Vec<String>,
    /// Where to listen; port 0 takes any that is free. Beyond loopback anybody who can reach it can use the model server
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:11435")]
    listen: SocketAddr,
    /// Calls that the model server computes at once, as its OLLAMA_NUM_PARALLEL
    #[arg(long, value_name = "N", default_value_t = 2)]
    slots: u32,
    /// A client's share of the slots, where others have 1: a name that it has by /m/NAME/ or X-Agent
    #[arg(long = "weight", value_name = "CLIENT=N", value_parser = weight)]
    weights: Vec<(String, u32)>,
    /// The context size with which a model is asked for, whatever requests say; `own` is the model's own. Each other size
    /// would load the model anew
    #[arg(long, value_name = "MODEL=SIZE", value_parser = num_ctx)]
    num_ctx: Vec<(ModelName, Option<u64>)>,
    /// Pass on what changes the model server for everybody: pull, push, create, copy, delete, blobs
    #[arg(long)]
    allow_manage: bool,
    /// Pass on calls of models that run in a cloud
    #[arg(long)]
    allow_cloud: bool,
    /// Pass everything straight through, without queue and refusals, to see whether the gateway is the reason for something
    #[arg(long)]
    bypass: bool,
    /// What is in flight at a stop may take so long to end
    #[arg(long, value_name = "DURATION", value_parser = spec::millis, default_value = "30s")]
    finish_within: Millis,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: Args) -> Outcome {
    let upstreams = upstreams(&args)?;
    let listener = listen::bind(args.listen, false).map_err(|error| not_listening(args.listen, &error))?;
    let here = listener.local_addr().map_err(|error| not_listening(args.listen, &error))?;
    upstreams.iter().try_for_each(|upstream| refuse_itself(upstream, here))?;
    child::log_to_stderr();
    child::raise_open_files();
    runtime::block_on(async {
        let mut looks = Vec::new();
        for upstream in &upstreams {
            looks.push(alone::look(upstream).await);
        }
        let reachable: Vec<bool> = looks.iter().map(Result::is_ok).collect();
        announce(&args, here, &upstreams, &reachable).map_err(cannot_write)?;
        warn(here, &upstreams, &looks);
        let account = |(client, weight): &(String, u32)| (AgentName::new(alone::account(client)), *weight);
        let config = AloneConfig {
            listener,
            model: ModelSettings {
                upstreams,
                allow: Allow { manage: args.allow_manage, cloud: args.allow_cloud },
                weights: args.weights.iter().map(account).collect(),
                contexts: args.num_ctx.iter().cloned().collect(),
            },
            reachable,
            bypass: args.bypass,
            finish_within: Duration::from_millis(args.finish_within.0),
            threads: gateway_threads(),
        };
        serve(config).await
    })?
}

/// `CLIENT=N`
fn weight(text: &str) -> Result<(String, u32), String> {
    let (client, weight) = text.rsplit_once('=').ok_or("write CLIENT=N")?;
    let weight = weight.parse().ok().filter(|&weight| weight > 0);
    Ok((client.to_owned(), weight.ok_or("a weight is a whole number from 1")?))
}

/// `MODEL=SIZE`, or `MODEL=own`
fn num_ctx(text: &str) -> Result<(ModelName, Option<u64>), String> {
    let (model, size) = text.rsplit_once('=').ok_or("write MODEL=SIZE")?;
    let size = match size {
        "own" => None,
        size => Some(size.parse().map_err(|_| "a context size is a number of tokens, or `own`")?),
    };
    Ok((ModelName::new(model), size))
}

/// Until a signal, and what is in flight then ends; until a second one, which cuts it.
async fn serve(config: AloneConfig) -> Outcome {
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| stopped(&error))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| stopped(&error))?;
    let (told, cuts) = (stop.clone(), cut.clone());
    let mut serving = tokio::task::spawn_blocking(move || alone::run(config, told, cuts));
    let served = loop {
        tokio::select! {
            served = &mut serving => break served,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.is_cancelled() {
            cut.cancel();
        }
        stop.cancel();
    };
    match served {
        Ok(Ok(())) => Ok(Exit::Done),
        Ok(Err(error)) => Err(stopped(&error)),
        Err(error) => Err(stopped(&error)),
    }
}

fn announce(args: &Args, here: SocketAddr, upstreams: &[UpstreamSettings], reachable: &[bool]) -> io::Result<()> {
    let url = format!("http://{here}");
    let slots: u32 = upstreams.iter().map(|upstream| upstream.slots).sum();
    let mut out = io::stdout().lock();
    if args.output.is_json() {
        let told = |(it, reachable): (&UpstreamSettings, &bool)| json!({"url": it.url, "slots": it.slots, "reachable": reachable});
        let upstreams: Vec<_> = upstreams.iter().zip(reachable).map(told).collect();
        writeln!(out, "{}", json!({"url": url, "bypass": args.bypass, "slots": slots, "upstreams": upstreams}))?;
    } else {
        let names = upstreams.iter().map(|upstream| upstream.url.as_str()).collect::<Vec<_>>().join(", ");
        let how = if args.bypass { "everything passes straight through".to_owned() } else { format!("{slots} slots") };
        writeln!(out, "gateway at {url} in front of {names}: {how}")?;
    }
    out.flush()
}

/// What a person should know who has started it so.
fn warn(here: SocketAddr, upstreams: &[UpstreamSettings], looks: &[Result<(), String>]) {
    if !here.ip().to_canonical().is_loopback() {
        eprintln!(
            "warning: {here} can be reached from other machines, and there is no authentication: whoever reaches it can use the \
             model server"
        );
    }
    for (upstream, look) in upstreams.iter().zip(looks) {
        if let Err(why) = look {
            eprintln!("warning: no model server answers at {}: {why}; calls fail until one does", upstream.url);
        }
    }
}

/// Those that are named.
fn upstreams(args: &Args) -> Result<Vec<UpstreamSettings>, Failure> {
    let upstreams = args.ollama.iter().map(|text| parse(text, args.slots)).collect::<Result<Vec<_>, _>>()?;
    if args.bypass && upstreams.len() > 1 {
        return Err(Failure::invalid(vec![
            Diagnostic::new("BW0453", format!("{} model servers are named with --bypass", upstreams.len()))
                .because("with --bypass nothing chooses among them")
                .help("name one, or leave --bypass out"),
        ]));
    }
    Ok(upstreams)
}

/// `URL` or `URL=SLOTS`.
fn parse(text: &str, slots: u32) -> Result<UpstreamSettings, Failure> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (url, own) = match text.rsplit_once('=') {
        Some((url, own)) if is_number(own) => (url, Some(own)),
        _ => (text, None),
    };
    let slots = match own.map(str::parse) {
        None => slots,
        Some(Ok(own)) => own,
        Some(Err(_too_many)) => return Err(wrong_slots(own.unwrap_or_default())),
    };
    if !(1..=SLOTS_MAX).contains(&slots) {
        return Err(wrong_slots(&slots.to_string()));
    }
    let upstream = UpstreamSettings { url: url.trim_end_matches('/').to_owned(), slots };
    let (shown, cause) = if url.contains('@') {
        ("that is given".to_owned(), "it holds a user name, which would end up in logs".to_owned())
    } else if url.contains(['?', '#']) {
        (format!("{url:?}"), "it has something behind its path".to_owned())
    } else if let Err(cause) = upstream.check_url() {
        (format!("{url:?}"), cause)
    } else {
        return Ok(upstream);
    };
    Err(Failure::invalid(vec![
        Diagnostic::new("BW0451", format!("--ollama {shown} is not the address of a model server"))
            .because(cause)
            .help("write http://HOST:PORT, such as http://127.0.0.1:11434, with =N behind it for slots of its own"),
    ]))
}

fn wrong_slots(slots: &str) -> Failure {
    Failure::invalid(vec![
        Diagnostic::new("BW0452", format!("with {slots} slots the gateway could not work"))
            .because("each call that it passes on holds a slot until it has ended")
            .help("write what the model server has as OLLAMA_NUM_PARALLEL, from 1 to 65535"),
    ])
}

/// Each request would come back as another one, for ever.
fn refuse_itself(upstream: &UpstreamSettings, here: SocketAddr) -> Result<(), Failure> {
    let uri: Option<Uri> = upstream.url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let port = uri.as_ref().and_then(Uri::port_u16).unwrap_or(80);
    let address: Option<IpAddr> = match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.trim_matches(['[', ']']).parse().ok(),
    };
    let meets = |address: IpAddr| {
        address == here.ip() || (here.ip().is_unspecified() && (address.is_loopback() || address.is_unspecified()))
    };
    if port != here.port() || !address.is_some_and(meets) {
        return Ok(());
    }
    Err(Failure::invalid(vec![
        Diagnostic::new("BW0454", format!("the gateway would listen on {here} and call itself there"))
            .because(format!("--ollama is {}", upstream.url))
            .help("let Ollama or the gateway listen on another port: OLLAMA_HOST=127.0.0.1:11436 or --listen"),
    ]))
}

fn not_listening(address: SocketAddr, error: &io::Error) -> Failure {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "end what uses that port (`ss -ltnp 'sport = :{}'` names it), or choose another one with --listen",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => "choose an address that this machine has with --listen".to_owned(),
        _ => "choose another address or port with --listen".to_owned(),
    };
    let told = Diagnostic::new("BW0450", format!("the gateway cannot listen on {address}"));
    Failure::error(told.because(error).help(help))
}

fn stopped(error: &dyn std::error::Error) -> Failure {
    Failure::error(
        Diagnostic::new("BW0455", "the gateway stops")
            .because(chain(error))
            .help("mend what the cause names, and start it again; clients can call the model server itself meanwhile"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text, 2).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_model_server_can_have_slots_of_its_own() {
        let parsed = |text: &str| parse(text, 2).map(|it| (it.url, it.slots)).expect("it is right");
        assert_eq!(parsed("http://127.0.0.1:11434"), ("http://127.0.0.1:11434".to_owned(), 2));
        assert_eq!(parsed("http://box:11434/=8"), ("http://box:11434".to_owned(), 8));
        assert_eq!(parsed("http://[::1]:1/under/"), ("http://[::1]:1/under".to_owned(), 2));
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_a_way_on() {
        insta::assert_snapshot!(refused("127.0.0.1:11434"), @r#"
        error[BW0451]: --ollama "127.0.0.1:11434" is not the address of a model server
          = cause: 127.0.0.1:11434 does not begin with http://
          = help: write http://HOST:PORT, such as http://127.0.0.1:11434, with =N behind it for slots of its own
        "#);
        insta::assert_snapshot!(refused("https://models.example"), @r#"
        error[BW0451]: --ollama "https://models.example" is not the address of a model server
          = cause: https://models.example does not begin with http://
          = help: write http://HOST:PORT, such as http://127.0.0.1:11434, with =N behind it for slots of its own
        "#);
        insta::assert_snapshot!(refused("http://me:secret@box:11434"), @r"
        error[BW0451]: --ollama that is given is not the address of a model server
          = cause: it holds a user name, which would end up in logs
          = help: write http://HOST:PORT, such as http://127.0.0.1:11434, with =N behind it for slots of its own
        ");
        insta::assert_snapshot!(refused("http://box:11434/?x=y"), @r#"
        error[BW0451]: --ollama "http://box:11434/?x=y" is not the address of a model server
          = cause: it has something behind its path
          = help: write http://HOST:PORT, such as http://127.0.0.1:11434, with =N behind it for slots of its own
        "#);
        insta::assert_snapshot!(refused("http://box:11434=0"), @r"
        error[BW0452]: with 0 slots the gateway could not work
          = cause: each call that it passes on holds a slot until it has ended
          = help: write what the model server has as OLLAMA_NUM_PARALLEL, from 1 to 65535
        ");
        insta::assert_snapshot!(refused("http://box:11434=99999999999"), @r"
        error[BW0452]: with 99999999999 slots the gateway could not work
          = cause: each call that it passes on holds a slot until it has ended
          = help: write what the model server has as OLLAMA_NUM_PARALLEL, from 1 to 65535
        ");
    }

    #[test]
    fn it_does_not_call_itself() {
        let meets = |url: &str, here: &str| {
            let upstream = UpstreamSettings { url: url.to_owned(), slots: 1 };
            refuse_itself(&upstream, here.parse().expect("an address")).is_err()
        };
        assert!(meets("http://127.0.0.1:11434", "127.0.0.1:11434"));
        assert!(meets("http://localhost:11434", "127.0.0.1:11434"));
        assert!(meets("http://localhost:11434", "0.0.0.0:11434"));
        assert!(meets("http://[::1]:11434", "[::]:11434"));
        assert!(!meets("http://127.0.0.1:11434", "127.0.0.1:11435"));
        assert!(!meets("http://127.0.0.2:11434", "127.0.0.1:11434"));
        assert!(!meets("http://box:11434", "0.0.0.0:11434"), "only what is certain is refused");
    }
}

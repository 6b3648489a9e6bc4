//! What a person asks to go wrong, in the words of `--fault`.

use std::{fmt, str::FromStr};

use bellwether_core::time::Millis;

use crate::{scenario::Lies, watched};

/// Something that goes wrong for the whole of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Green is faulty in the agents of this phase, counted from 0, and of later ones.
    Green {
        sickness: Sickness,
        phase: usize,
    },
    /// Instances of both sides die at any time; the mean time between two deaths anywhere in the fleet.
    Deaths {
        every: Millis,
    },
    ControllerCrashes {
        every: Millis,
    },
    GatewayCrashes {
        every: Millis,
    },
    SupervisorCrashes {
        every: Millis,
    },
    /// One of the controller's two links breaks.
    LinkBreaks {
        every: Millis,
    },
    /// The driver loses words, tells of starts that were none, and takes commands and does nothing.
    DriverLies,
}

/// What is wrong with a revision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sickness {
    /// What the traffic alone shows.
    Seen(watched::Fault),
    /// It ends by itself so long after its first task.
    Crash { after: Millis },
    /// Its memory grows by so much each second until it is ended for it, or has grown by `most`.
    Leak { bytes_per_second: u64, most: u64 },
    /// It boots well and answers no synthetic task.
    Unfit,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a fault: {why}")]
pub struct BadFault {
    text: String,
    why: &'static str,
}

const KNOWN: &str = "of green, each with @phaseN for where it begins: errors[:0.3], latency[:3], crash[:2s], leak[:8], \
                     hang, swallow, unfit, ollama-down; of the rest: deaths[:4m], controller-crashes[:10m], \
                     gateway-crashes[:10m], supervisor-crashes[:30m], link-breaks[:5m], driver-lies";

const MIB: u64 = 1 << 20;
/// What the agents of the demo do as well.
const LEAK_MOST: u64 = 256 * MIB;

pub(crate) const LIES: Lies = Lies {
    untrue_starts: 0.02,
    never_done: 0.02,
    exits_lost: 0.1,
    exits_doubled: 0.1,
    ghosts: 0.05,
    denials_every: Millis::ZERO,
};

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let bad = |why| BadFault { text: text.to_owned(), why };
        let (kind, phase) = match text.split_once('@') {
            Some((kind, phase)) => {
                let number = phase.trim().strip_prefix("phase").and_then(|number| number.parse::<usize>().ok());
                let phase = number.and_then(|number| number.checked_sub(1));
                (kind, Some(phase.ok_or_else(|| bad("after @ comes phase1, phase2 or so on"))?))
            }
            None => (text, None),
        };
        let (kind, value) = match kind.split_once(':') {
            Some((kind, value)) => (kind.trim(), Some(value.trim())),
            None => (kind.trim(), None),
        };
        let every = |usual: Millis| match value {
            None => Ok(usual),
            Some(value) => span(value).ok_or_else(|| bad("its value is a time such as 30s, 4m or 2h")),
        };
        let number = |usual: f64, low: f64, high: f64| match value.map(|value| value.trim_end_matches('x').parse()) {
            None => Ok(usual),
            Some(Ok(value)) if (low..=high).contains(&value) => Ok(value),
            Some(_) => Err(bad("its value is not a number that is possible here")),
        };
        let plain = |sickness| if value.is_none() { Ok(sickness) } else { Err(bad("it takes no value")) };
        let sickness = match kind {
            "errors" => Ok(Sickness::Seen(watched::Fault::Errors(number(0.3, 0.0, 1.0)?))),
            "latency" => Ok(Sickness::Seen(watched::Fault::Latency(number(3.0, 1.0, 1000.0)?))),
            "swallow" => plain(Sickness::Seen(watched::Fault::Swallow)),
            "hang" => plain(Sickness::Seen(watched::Fault::Hang)),
            "ollama-down" => plain(Sickness::Seen(watched::Fault::ModelServerDown)),
            "crash" => Ok(Sickness::Crash { after: every(Millis::from_secs(2))? }),
            "leak" => Ok(Sickness::Leak { bytes_per_second: mebibytes(number(8.0, 1.0, 1e6)?), most: LEAK_MOST }),
            "unfit" => plain(Sickness::Unfit),
            _ => {
                let fault = match kind {
                    "deaths" => Self::Deaths { every: every(Millis::from_mins(4))? },
                    "controller-crashes" => Self::ControllerCrashes { every: every(Millis::from_mins(10))? },
                    "gateway-crashes" => Self::GatewayCrashes { every: every(Millis::from_mins(10))? },
                    "supervisor-crashes" => Self::SupervisorCrashes { every: every(Millis::from_mins(30))? },
                    "link-breaks" => Self::LinkBreaks { every: every(Millis::from_mins(5))? },
                    "driver-lies" if value.is_none() => Self::DriverLies,
                    _ => return Err(bad(KNOWN)),
                };
                return if phase.is_none() { Ok(fault) } else { Err(bad("only what is wrong with green has a phase")) };
            }
        };
        Ok(Self::Green { sickness: sickness?, phase: phase.unwrap_or(0) })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Green { sickness, phase } => write!(f, "green of phase {} and later {sickness}", phase + 1),
            Self::Deaths { every } => write!(f, "an instance of either side dies every {every}"),
            Self::ControllerCrashes { every } => write!(f, "the controller dies every {every}"),
            Self::GatewayCrashes { every } => write!(f, "the gateway dies every {every}"),
            Self::SupervisorCrashes { every } => {
                write!(f, "the supervisor dies every {every}, and controller and gateway with it")
            }
            Self::LinkBreaks { every } => write!(f, "a link to driver or gateway breaks every {every}"),
            Self::DriverLies => {
                f.write_str("the driver loses words, tells of starts that were none, and does not do all")
            }
        }
    }
}

impl fmt::Display for Sickness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(watched::Fault::None) => f.write_str("is well"),
            Self::Seen(watched::Fault::Errors(share)) => write!(f, "fails {:.0} % of its tasks", share * 100.0),
            Self::Seen(watched::Fault::Latency(times)) => write!(f, "takes {times} times as long"),
            Self::Seen(watched::Fault::Swallow) => f.write_str("completes its tasks with nothing in them"),
            Self::Seen(watched::Fault::Hang) => f.write_str("takes a task and does nothing more"),
            Self::Seen(watched::Fault::ModelServerDown) => f.write_str("comes while the model server is down"),
            Self::Crash { after } => write!(f, "ends by itself {after} after its first task"),
            Self::Leak { bytes_per_second, .. } => write!(f, "leaks {} MiB a second", bytes_per_second / MIB),
            Self::Unfit => f.write_str("answers no synthetic task"),
        }
    }
}

fn mebibytes(count: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number between 1 and a million")]
    let bytes = (count * 1_048_576.0) as u64;
    bytes
}

/// `30s`, `4m` or `2h`, and not nothing.
fn span(text: &str) -> Option<Millis> {
    bellwether_core::spec::millis(text).ok().filter(|span| *span > Millis::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn a_kind_alone_has_the_figures_of_the_demo() {
        let green = |sickness, phase| Fault::Green { sickness, phase };
        assert_eq!(fault("errors"), green(Sickness::Seen(watched::Fault::Errors(0.3)), 0));
        assert_eq!(fault("errors:0.05@phase2"), green(Sickness::Seen(watched::Fault::Errors(0.05)), 1));
        assert_eq!(fault("latency:1.5@phase4"), green(Sickness::Seen(watched::Fault::Latency(1.5)), 3));
        assert_eq!(fault("crash:5s"), green(Sickness::Crash { after: Millis::from_secs(5) }, 0));
        assert_eq!(fault("leak"), green(Sickness::Leak { bytes_per_second: 8 * MIB, most: LEAK_MOST }, 0));
        assert_eq!(fault("deaths:4m"), Fault::Deaths { every: Millis::from_mins(4) });
        assert_eq!(fault("controller-crashes"), Fault::ControllerCrashes { every: Millis::from_mins(10) });
        assert_eq!(fault("driver-lies"), Fault::DriverLies);
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "is not a fault: of green"),
            ("errors:2", "not a number that is possible"),
            ("errors@2", "after @ comes phase1"),
            ("errors@phase0", "after @ comes phase1"),
            ("hang:3", "takes no value"),
            ("deaths:soon", "a time such as"),
            ("deaths:4m@phase2", "only what is wrong with green has a phase"),
            ("crash:0s", "a time such as"),
        ] {
            let message = text.parse::<Fault>().unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
    }
}
